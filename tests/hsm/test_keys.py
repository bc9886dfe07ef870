import secrets

import pytest
from pkcs11 import ObjectClass

from hsm.errors import ForeignKey, KeyAltered, KeyAmbiguous, KeyNotFound, PublicKeyDiffers, RequestInvalid
from hsm.keys import KeyName, check_key_id, check_pair, check_registered, describe_key, find_pair
from hsm.strongbox import Strongbox
from tests.hsm.intruders import destroy_half, generate_pair, import_key
from tests.softhsm import open_raw_session

ID = bytes(range(16))


def test_a_key_made_here_passes(box: Strongbox) -> None:
    key = box.generate("keys", ID, "k", "p256")
    pair = find_pair(open_raw_session("keys"), ID, "token keys")
    check_pair(pair, "token keys")
    check_registered(key.name, pair.public.spki)
    with pytest.raises(PublicKeyDiffers, match=rf"token keys, key k/{ID.hex()}: .* registered is 00000000"):
        check_registered(KeyName("keys", ID, "0" * 64, "k"), pair.public.spki)


@pytest.mark.parametrize("half", [ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY])
def test_half_a_key_is_none(box: Strongbox, half: ObjectClass) -> None:
    box.generate("keys", ID, "k", "p256")
    session = open_raw_session("keys")
    destroy_half(session, ID, half)
    with pytest.raises(KeyNotFound, match=r"token keys: [01] private and [01] public"):
        find_pair(session, ID, "token keys")


@pytest.mark.req("HS-1")
def test_an_imported_key_is_foreign(box: Strongbox) -> None:
    session = open_raw_session("keys")
    import_key(session, ID, "k")
    with pytest.raises(ForeignKey, match="CKA_LOCAL=false, CKA_ALWAYS_SENSITIVE=false, CKA_NEVER_EXTRACTABLE=false"):
        check_pair(find_pair(session, ID, "token keys"), "token keys")


@pytest.mark.req("HS-1")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SIGN_RECOVER", True),
        ("DERIVE", True),
        ("MODIFIABLE", True),
        ("COPYABLE", True),
        ("DECRYPT", True),
        ("UNWRAP", True),
        ("PRIVATE", False),
    ],
)
def test_a_key_with_another_template_is_altered(box: Strongbox, name: str, value: bool) -> None:
    session = open_raw_session("keys")
    generate_pair(session, ID, "k", **{name: value})
    with pytest.raises(KeyAltered, match=f"CKA_{name}={str(value).lower()}"):
        check_pair(find_pair(session, ID, "token keys"), "token keys")


@pytest.mark.req("HS-1")
@pytest.mark.parametrize("name", ["EXTRACTABLE", "SENSITIVE"])
def test_a_key_that_may_leave_is_foreign(box: Strongbox, name: str) -> None:
    session = open_raw_session("keys")
    generate_pair(session, ID, "k", **{name: name == "EXTRACTABLE"})
    with pytest.raises(ForeignKey):
        check_pair(find_pair(session, ID, "token keys"), "token keys")


def test_a_second_object_with_the_id_is_refused(box: Strongbox) -> None:
    box.generate("keys", ID, "k", "p256")
    session = open_raw_session("keys")
    generate_pair(session, ID, "k")
    with pytest.raises(KeyAmbiguous, match="4 objects"):
        find_pair(session, ID, "token keys")


@pytest.mark.parametrize("key_id", [b"", bytes(15), bytes(17)])
def test_an_id_of_another_length_is_refused(key_id: bytes) -> None:
    with pytest.raises(RequestInvalid):
        check_key_id(key_id)


def test_keys_are_named_in_messages() -> None:
    assert describe_key("t", b"\x1a\x2b", "oem-root") == "token t, key oem-root/1a2b"
    assert describe_key("t", b"\x1a\x2b") == "token t, key 1a2b"
    assert str(KeyName("t", b"\x1a\x2b", secrets.token_hex(32), "k")) == "token t, key k/1a2b"
