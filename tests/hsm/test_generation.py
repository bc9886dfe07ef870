import secrets

import pytest

from hsm.algorithms import ALGORITHMS, load_public_key, verify
from hsm.errors import KeyExists, RequestInvalid
from hsm.generation import CHALLENGE_BYTES, CHALLENGE_PREFIX, check_request
from hsm.keys import KeyName
from hsm.strongbox import Strongbox

EXPECTED = {
    "CKA_TOKEN": True,
    "CKA_PRIVATE": True,
    "CKA_SENSITIVE": True,
    "CKA_SIGN": True,
    "CKA_EXTRACTABLE": False,
    "CKA_DECRYPT": False,
    "CKA_UNWRAP": False,
    "CKA_DERIVE": False,
    "CKA_SIGN_RECOVER": False,
    "CKA_MODIFIABLE": False,
    "CKA_COPYABLE": False,
    "CKA_LOCAL": True,
    "CKA_ALWAYS_SENSITIVE": True,
    "CKA_NEVER_EXTRACTABLE": True,
}


@pytest.mark.req("HS-1")
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_new_key_has_the_whole_template_and_proves_itself(box: Strongbox, algorithm: str) -> None:
    key_id = secrets.token_bytes(16)
    key = box.generate("keys", key_id, "oem-root", algorithm)
    assert key.attributes == EXPECTED
    assert key.name == KeyName("keys", key_id, key.name.spki, "oem-root")
    assert key.algorithm == algorithm
    assert key.token_serial == box.token_serial("keys")
    assert key.challenge.startswith(CHALLENGE_PREFIX)
    assert len(key.challenge) == len(CHALLENGE_PREFIX) + CHALLENGE_BYTES
    verify(ALGORITHMS[algorithm], load_public_key(key.public_key), key.proof, key.challenge)


def test_an_id_is_used_once(box: Strongbox) -> None:
    key = box.generate("keys", bytes(16), "k", "p256")
    with pytest.raises(KeyExists, match=f"token keys, key other/{'00' * 16}"):
        box.generate("keys", bytes(16), "other", "p256")
    assert box.sign(key.name, b"data")
    assert box.generate("journal", bytes(16), "k", "ed25519").name.id == bytes(16)


def test_labels_may_repeat(box: Strongbox) -> None:
    first, second = (box.generate("keys", secrets.token_bytes(16), "same", "p256") for _ in range(2))
    assert first.name.spki != second.name.spki
    assert box.sign(first.name, b"data") != box.sign(second.name, b"data")


@pytest.mark.parametrize(
    ("key_id", "label", "algorithm"),
    [
        (b"", "k", "p256"),
        (bytes(15), "k", "p256"),
        (bytes(16), "", "p256"),
        (bytes(16), "k" * 65, "p256"),
        (bytes(16), "a\nb", "p256"),
        (bytes(16), "k", "p521"),
        (bytes(16), "k", "P256"),
    ],
)
def test_a_request_that_does_not_fit_makes_nothing(box: Strongbox, key_id: bytes, label: str, algorithm: str) -> None:
    with pytest.raises(RequestInvalid):
        box.generate("keys", key_id, label, algorithm)
    assert [token.objects for token in box.inventory()] == [(), ()]


def test_a_request_that_fits_names_its_algorithm() -> None:
    assert check_request(bytes(16), "k", "p384") is ALGORITHMS["p384"]
