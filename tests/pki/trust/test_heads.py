from typing import Any

import pytest

from pki.errors import PkiError
from pki.trust.heads import draft_head, verify_head
from tests.pki.trust.fleets import DIRECTOR, MANIFEST, finish, following, keys_of, sign
from tests.pki.trust.messages import GENESIS, head


def test_accepts() -> None:
    assert verify_head(GENESIS, sign(head(), DIRECTOR)) == head()


@pytest.mark.parametrize(
    ("changes", "code"),
    [({"fleet": bytes(16)}, "fleet-mismatch"), ({"set_ref": following(GENESIS).ref}, "set-ref-mismatch")],
)
def test_refusals(changes: dict[str, Any], code: str) -> None:
    with pytest.raises(PkiError) as caught:
        verify_head(GENESIS, sign(head(**changes), DIRECTOR))
    assert caught.value.code == code


def test_other_signers_are_refused() -> None:
    with pytest.raises(PkiError, match="director"):
        verify_head(GENESIS, sign(head(), MANIFEST))


def test_draft() -> None:
    draft = draft_head(GENESIS, head(), keys_of(DIRECTOR))
    assert draft.kind == "head-statement"
    assert verify_head(GENESIS, finish(draft, DIRECTOR)) == head()
