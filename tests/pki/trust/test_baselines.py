from typing import Any

import pytest

from pki.errors import PkiError
from pki.trust.baselines import BaselineRelease, draft_baseline, verify_baseline
from pki.trust.sets import Domain
from tests.pki.trust.fleets import CLASS, IMAGE, MANIFEST, OTHER_CLASS, finish, following, keys_of, sign
from tests.pki.trust.messages import GENESIS, HASH, baseline
from tests.pki.trust.verdicts import demand_every_signer, demand_refusal

NEXT = following(GENESIS)


def test_accepts() -> None:
    assert verify_baseline(NEXT, sign(baseline(NEXT), MANIFEST)) == baseline(NEXT)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"fleet": bytes(16)}, "fleet-mismatch"),
        ({"set_ref": GENESIS.ref}, "set-ref-mismatch"),
        ({"classes": {}}, "payload-invalid"),
        ({"classes": {CLASS: BaselineRelease(Domain.APP, (), HASH)}}, "payload-invalid"),
        ({"classes": {CLASS: BaselineRelease(Domain.APP, (1,), b"")}}, "payload-invalid"),
    ],
)
def test_refusals(changes: dict[str, Any], code: str) -> None:
    demand_refusal(verify_baseline, NEXT, baseline(NEXT, **changes), code)


def test_the_signers_of_every_class_are_needed() -> None:
    demand_every_signer(verify_baseline, baseline)
    with pytest.raises(PkiError, match="manifest-signer"):
        verify_baseline(NEXT, sign(baseline(NEXT), IMAGE))


def test_draft() -> None:
    draft = draft_baseline(NEXT, baseline(NEXT), keys_of(MANIFEST))
    assert (draft.kind, draft.what["sequence"]) == ("baseline", 3)
    assert draft.what["versions"] == {CLASS.hex(): "2.4.0", OTHER_CLASS.hex(): "2.4.0"}
    assert verify_baseline(NEXT, finish(draft, MANIFEST)) == baseline(NEXT)
