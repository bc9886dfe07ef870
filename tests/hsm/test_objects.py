import hashlib
import secrets

from pkcs11 import Attribute, KeyType, ObjectClass

from hsm.objects import find_objects, handle_of, read_object
from hsm.strongbox import Strongbox
from tests.softhsm import open_raw_session


def test_both_halves_of_a_key_are_read(box: Strongbox) -> None:
    key = box.generate("keys", secrets.token_bytes(16), "oem-root", "p384")
    session = open_raw_session("keys")
    halves = {item.kind: item for item in map(read_object, find_objects(session, key.name.id))}
    assert set(halves) == {"private-key", "public-key"}
    assert halves["private-key"].public_key == b""
    assert halves["public-key"].public_key == key.public_key
    assert halves["public-key"].spki == key.name.spki == hashlib.sha256(key.public_key).hexdigest()
    assert all((half.algorithm, half.label) == ("p384", "oem-root") for half in halves.values())
    assert find_objects(session, secrets.token_bytes(16)) == []
    assert all(handle_of(item) for item in find_objects(session))


def test_objects_of_any_kind_and_with_odd_values_are_read(box: Strongbox) -> None:
    session = open_raw_session("keys")
    session.create_object({Attribute.CLASS: ObjectClass.DATA, Attribute.TOKEN: True, Attribute.VALUE: b"\xff"})
    session.create_object(
        {
            Attribute.CLASS: ObjectClass.PUBLIC_KEY,
            Attribute.KEY_TYPE: KeyType.EC,
            Attribute.TOKEN: True,
            Attribute.EC_PARAMS: bytes.fromhex("06082a8648ce3d030107"),
            Attribute.EC_POINT: b"\x04\x41\x04" + b"\x01" * 64,
        }
    )
    session.generate_key(KeyType.AES, 256, store=True)
    found = {item.kind: item for item in map(read_object, find_objects(session))}
    assert set(found) == {"data", "public-key", "secret-key"}
    assert found["data"].attributes == {"CKA_TOKEN": True, "CKA_PRIVATE": True, "CKA_MODIFIABLE": True}
    assert (found["public-key"].algorithm, found["public-key"].spki) == ("p256", "")
