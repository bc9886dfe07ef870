from typing import Any

import pytest

from pki.errors import PkiError
from pki.trust.errors import ThresholdNotMet
from pki.trust.grants import LATEST, draft_grant, verify_grant
from pki.trust.sets import RoleId, Scope
from tests.pki.trust.fleets import (
    CLASS,
    IMAGE,
    MANIFEST,
    OTHER_CLASS,
    finish,
    following,
    group,
    keys_of,
    sign,
    soft_key,
)
from tests.pki.trust.messages import GENESIS, HASH, grant

NEXT = following(GENESIS)


def test_accepts() -> None:
    assert verify_grant(NEXT, sign(grant(NEXT), MANIFEST)) == grant(NEXT)
    named = grant(NEXT, facts=HASH)
    assert verify_grant(NEXT, sign(named, MANIFEST)) == named


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"fleet": bytes(16)}, "fleet-mismatch"),
        ({"set_ref": GENESIS.ref}, "set-ref-mismatch"),
        ({"classes": {}}, "payload-invalid"),
        ({"classes": {CLASS: b""}}, "payload-invalid"),
        ({"profiles": ()}, "payload-invalid"),
        ({"profiles": ("idevid", "idevid")}, "payload-invalid"),
        ({"quantity": 0}, "payload-invalid"),
        ({"number": 0}, "payload-invalid"),
        ({"ca": HASH[1:]}, "payload-invalid"),
        ({"facts": HASH[1:]}, "payload-invalid"),
        ({"id": "x" * 65}, "payload-invalid"),
        ({"valid_to": 1_790_000_000}, "payload-invalid"),
        ({"valid_to": LATEST}, "payload-invalid"),
    ],
)
def test_refusals(changes: dict[str, Any], code: str) -> None:
    with pytest.raises(PkiError) as caught:
        verify_grant(NEXT, sign(grant(NEXT, **changes), MANIFEST))
    assert caught.value.code == code


def test_the_signers_of_every_class_are_needed() -> None:
    other = soft_key(122)
    groups = (*group(1, MANIFEST, scope=Scope(classes=(CLASS,))), *group(1, other, scope=Scope(classes=(OTHER_CLASS,))))
    roles = {**NEXT.roles, RoleId.MANIFEST_SIGNER: groups}
    scoped = following(GENESIS, keys=(*NEXT.keys, other.key), roles=roles)
    with pytest.raises(ThresholdNotMet):
        verify_grant(scoped, sign(grant(scoped), MANIFEST))
    assert verify_grant(scoped, sign(grant(scoped), MANIFEST, other)) == grant(scoped)
    with pytest.raises(PkiError, match="manifest-signer"):
        verify_grant(NEXT, sign(grant(NEXT), IMAGE))


def test_draft() -> None:
    draft = draft_grant(NEXT, grant(NEXT), keys_of(MANIFEST))
    assert (draft.kind, draft.what["quantity"], draft.what["grant"]) == ("quota-grant", 500, "oslo-2026-01")
    assert verify_grant(NEXT, finish(draft, MANIFEST)) == grant(NEXT)
