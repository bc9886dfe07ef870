from typing import Any

import pytest

from pki.errors import PkiError, SignatureInvalid
from pki.trust.challenges import draft_challenge, verify_challenge
from pki.trust.sets import RoleId, Scope
from tests.pki.trust.fleets import (
    CLASS,
    COUNTERS,
    DIRECTOR,
    MANIFEST,
    STRANGER,
    SoftKey,
    finish,
    genesis,
    group,
    sign,
    sign1,
)
from tests.pki.trust.messages import GENESIS, challenge, claims


def test_accepts() -> None:
    assert verify_challenge(GENESIS, sign1(challenge(), DIRECTOR)) == challenge()


@pytest.mark.parametrize("signer", [STRANGER, MANIFEST])
def test_other_signers_are_refused(signer: SoftKey) -> None:
    with pytest.raises(PkiError) as caught:
        verify_challenge(GENESIS, sign1(challenge(), signer))
    assert caught.value.code == "threshold-not-met"


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (sign1(challenge(fleet=bytes(16)), DIRECTOR), "fleet-mismatch"),
        (sign1(challenge(nonce=bytes(8)), DIRECTOR), "payload-invalid"),
        (sign1(claims(), DIRECTOR), "type-mismatch"),
        (sign(challenge(), DIRECTOR), "cose-invalid"),
    ],
)
def test_refusals(message: bytes, code: str) -> None:
    with pytest.raises(PkiError) as caught:
        verify_challenge(GENESIS, message)
    assert caught.value.code == code


def test_a_changed_byte_is_refused() -> None:
    message = sign1(challenge(), DIRECTOR)
    with pytest.raises(SignatureInvalid):
        verify_challenge(GENESIS, message.replace(b"canary", b"canarx"))


def test_directors_of_a_class_and_groups_of_two() -> None:
    def with_directors(*members: SoftKey, threshold: int = 1, **scope: Any) -> Any:
        groups = group(threshold, *members, scope=Scope(**scope) if scope else None)
        return genesis(roles={**GENESIS.roles, RoleId.DIRECTOR: groups})

    message = sign1(challenge(), DIRECTOR)
    scoped = with_directors(DIRECTOR, classes=(CLASS,))
    assert verify_challenge(scoped, message, class_id=CLASS) == challenge()
    with pytest.raises(PkiError, match="no group"):
        verify_challenge(scoped, message)
    with pytest.raises(PkiError, match="1 of 2"):
        verify_challenge(with_directors(DIRECTOR, COUNTERS[0], threshold=2), message)


def test_draft() -> None:
    draft = draft_challenge(GENESIS, challenge(), DIRECTOR.key)
    assert (draft.kind, draft.what["canary"]) == ("challenge", True)
    assert verify_challenge(GENESIS, finish(draft, DIRECTOR)) == challenge()
