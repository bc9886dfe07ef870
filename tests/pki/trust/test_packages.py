from typing import Any

import pytest

from pki.errors import PkiError
from pki.trust.packages import draft_birth_package, verify_birth_package
from tests.pki.trust.fleets import IMAGE, MANIFEST, finish, following, keys_of, sign
from tests.pki.trust.messages import GENESIS, birth_package

NEXT = following(GENESIS)


@pytest.mark.parametrize("newest", [GENESIS, NEXT])
def test_the_newest_set_vouches_for_the_first(newest: Any) -> None:
    assert verify_birth_package(GENESIS, newest, sign(birth_package(), MANIFEST)) == birth_package()


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"fleet": bytes(16)}, "fleet-mismatch"),
        ({"set_ref": NEXT.ref}, "set-ref-mismatch"),
        ({"fuses": (("x" * 65, b""),)}, "payload-invalid"),
    ],
)
def test_refusals(changes: dict[str, Any], code: str) -> None:
    with pytest.raises(PkiError) as caught:
        verify_birth_package(GENESIS, NEXT, sign(birth_package(**changes), MANIFEST))
    assert caught.value.code == code


def test_other_signers_are_refused() -> None:
    with pytest.raises(PkiError, match="manifest-signer"):
        verify_birth_package(GENESIS, NEXT, sign(birth_package(), IMAGE))


def test_draft() -> None:
    draft = draft_birth_package(GENESIS, NEXT, birth_package(), keys_of(MANIFEST))
    assert (draft.kind, draft.what["genesis"]) == ("birth-package", GENESIS.payload_sha256.hex())
    assert verify_birth_package(GENESIS, NEXT, finish(draft, MANIFEST)) == birth_package()
