from typing import Any

import pytest

from pki.trust.errors import ThresholdNotMet
from pki.trust.indexes import draft_index, verify_index
from tests.pki.trust.fleets import MANIFEST, ROOTS, finish, following, keys_of, sign
from tests.pki.trust.messages import GENESIS, index
from tests.pki.trust.verdicts import demand_every_signer, demand_refusal

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
    demand_refusal(verify_index, NEXT, index(NEXT, **changes), code)


def test_the_signers_of_every_class_are_needed() -> None:
    demand_every_signer(verify_index, index)


def test_draft() -> None:
    draft = draft_index(NEXT, index(NEXT), keys_of(MANIFEST))
    assert (draft.kind, draft.what["set_index"]) == ("transition-index", 1)
    assert verify_index(NEXT, finish(draft, MANIFEST)) == index(NEXT)
    with pytest.raises(ThresholdNotMet):
        finish(draft_index(NEXT, index(NEXT), keys_of(ROOTS[0])), *ROOTS)
