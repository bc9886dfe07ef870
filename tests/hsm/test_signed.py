"""A signature as it comes out of a series."""

from hsm.errors import KeyNotFound
from hsm.keys import KeyName
from hsm.signed import Signed, sign_one


def test_one_signature_says_how_long_it_took_and_why_there_is_none() -> None:
    key, times = KeyName("keys", bytes(16), "0" * 64, "k"), iter([1.0, 1.5, 2.0, 2.25])
    assert sign_one(lambda _key, data: data, key, b"raw", lambda: next(times)) == Signed(b"raw", None, 500_000)
    error = KeyNotFound("gone")

    def refuse(_key: KeyName, _data: bytes) -> bytes:
        raise error

    assert sign_one(refuse, key, b"raw", lambda: next(times)) == Signed(b"", error, 250_000)
