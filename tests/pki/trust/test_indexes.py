from typing import Any

import pytest

from pki.errors import PkiError
from pki.trust.errors import ThresholdNotMet
from pki.trust.indexes import draft_index, verify_index
from pki.trust.sets import RoleId, Scope
from tests.pki.trust.fleets import (
    CLASS,
    MANIFEST,
    OTHER_CLASS,
    ROOTS,
    finish,
    following,
    group,
    keys_of,
    sign,
    soft_key,
)
from tests.pki.trust.messages import GENESIS, index

NEXT = following(GENESIS)


def test_accepts() -> None:
    assert verify_index(NEXT, sign(index(NEXT), MANIFEST)) == index(NEXT)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"fleet": bytes(16)}, "fleet-mismatch"),
        ({"to_set": GENESIS.ref}, "set-ref-mismatch"),
        ({"from_set": NEXT.ref}, "set-index-refused"),
        ({"classes": {}}, "payload-invalid"),
    ],
)
def test_refusals(changes: dict[str, Any], code: str) -> None:
    with pytest.raises(PkiError) as caught:
        verify_index(NEXT, sign(index(NEXT, **changes), MANIFEST))
    assert caught.value.code == code


def test_the_signers_of_every_class_are_needed() -> None:
    other = soft_key(122)
    groups = (
        *group(1, MANIFEST, scope=Scope(classes=(CLASS,))),
        *group(1, other, scope=Scope(classes=(OTHER_CLASS,))),
    )
    roles = {**NEXT.roles, RoleId.MANIFEST_SIGNER: groups}
    scoped = following(GENESIS, keys=(*NEXT.keys, other.key), roles=roles)
    message = index(scoped)
    with pytest.raises(ThresholdNotMet):
        verify_index(scoped, sign(message, MANIFEST))
    assert verify_index(scoped, sign(message, MANIFEST, other)) == message


def test_draft() -> None:
    draft = draft_index(NEXT, index(NEXT), keys_of(MANIFEST))
    assert (draft.kind, draft.what["set_index"]) == ("transition-index", 1)
    assert verify_index(NEXT, finish(draft, MANIFEST)) == index(NEXT)
    with pytest.raises(ThresholdNotMet):
        finish(draft_index(NEXT, index(NEXT), keys_of(ROOTS[0])), *ROOTS)
