import secrets

import pytest

from hsm.errors import CallFailed, KeyAltered, SignatureMismatch
from hsm.keys import KeyPair, find_pair
from hsm.objects import handle_of
from hsm.signer import Signer
from hsm.strongbox import Strongbox
from tests.hsm.intruders import generate_pair
from tests.softhsm import open_raw_session


@pytest.mark.req("HS-3")
@pytest.mark.parametrize("algorithm", ["p256", "p384", "ed25519"])
def test_a_signature_under_another_public_key_is_not_returned(box: Strongbox, algorithm: str) -> None:
    first, second = (box.generate("keys", secrets.token_bytes(16), "k", algorithm) for _ in range(2))
    session = open_raw_session("keys")
    pairs = [find_pair(session, key.name.id, "") for key in (first, second)]
    crossed = KeyPair(pairs[0].handle, pairs[0].private, pairs[1].public)
    with pytest.raises(SignatureMismatch, match=r"token keys, key k, C_Sign: .* does not verify"):
        Signer(box._module, handle_of(session), crossed).sign(b"data", "token keys, key k")
    assert Signer(box._module, handle_of(session), pairs[0]).sign(b"data", "") != b""


@pytest.mark.req("HS-8")
def test_the_token_refuses_a_key_that_may_not_sign(box: Strongbox) -> None:
    session = open_raw_session("keys")
    generate_pair(session, bytes(16), "k", SIGN=False)
    signer = Signer(box._module, handle_of(session), find_pair(session, bytes(16), ""))
    with pytest.raises(KeyAltered) as caught:
        signer.sign(b"data", "token keys, key k")
    assert caught.value.message == "token keys, key k, C_SignInit: CKR_KEY_FUNCTION_NOT_PERMITTED"
    assert caught.value.rv == "CKR_KEY_FUNCTION_NOT_PERMITTED"


def test_a_lost_session_is_named(box: Strongbox) -> None:
    key = box.generate("keys", bytes(16), "k", "p256")
    session = open_raw_session("keys")
    signer = Signer(box._module, handle_of(session), find_pair(session, key.name.id, ""))
    session.close()
    with pytest.raises(CallFailed, match="token keys, key k, C_SignInit: CKR_SESSION_HANDLE_INVALID"):
        signer.sign(b"data", "token keys, key k")
