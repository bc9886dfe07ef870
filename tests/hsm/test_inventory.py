import secrets

import msgspec
import pytest
from pkcs11 import Attribute, ObjectClass

from hsm.inventory import compare_inventory
from hsm.keys import KeyName
from hsm.strongbox import Strongbox
from tests.hsm.intruders import destroy_half, generate_pair, import_key
from tests.softhsm import open_raw_session


def reasons(box: Strongbox, *keys: KeyName) -> set[tuple[str, str]]:
    return {(difference.kind, difference.reason) for difference in compare_inventory(keys, box.inventory())}


def test_tokens_and_objects_are_listed(box: Strongbox) -> None:
    key = box.generate("keys", secrets.token_bytes(16), "oem-root", "p256")
    journal = box.generate("journal", secrets.token_bytes(16), "journal", "ed25519")
    tokens = {token.label: token for token in box.inventory()}
    assert list(tokens) == ["keys", "journal"]
    for generated in (key, journal):
        token = tokens[generated.name.token]
        assert token.serial == generated.token_serial
        assert (token.manufacturer, token.model) == ("SoftHSM project", "SoftHSM v2")
        assert token.firmware.startswith("2.")
        assert [(item.kind, item.label) for item in token.objects] == [
            ("private-key", generated.name.label),
            ("public-key", generated.name.label),
        ]
    assert compare_inventory([key.name, journal.name], box.inventory()) == ()


@pytest.mark.req("HS-7")
def test_objects_added_destroyed_and_imported_behind_the_back_are_found(box: Strongbox) -> None:
    key = box.generate("keys", secrets.token_bytes(16), "k", "p256").name
    session = open_raw_session("keys")
    session.create_object({Attribute.CLASS: ObjectClass.DATA, Attribute.TOKEN: True, Attribute.LABEL: "note"})
    assert reasons(box, key) == {("unknown", "data is not registered")}
    generate_pair(session, secrets.token_bytes(16), "k")
    assert ("unknown", "private-key is not registered") in reasons(box, key)
    destroy_half(session, key.id, ObjectClass.PRIVATE_KEY)
    assert ("missing", "private-key not in the token") in reasons(box, key)
    imported = import_key(session, secrets.token_bytes(16), "imported")
    assert {reason for kind, reason in reasons(box, key, imported) if kind == "altered"} >= {
        "private-key has CKA_LOCAL=false",
        "private-key has CKA_NEVER_EXTRACTABLE=false",
    }


@pytest.mark.req("HS-7")
def test_other_labels_public_keys_and_duplicates_are_found(box: Strongbox) -> None:
    key = box.generate("keys", secrets.token_bytes(16), "k", "p256").name
    renamed = msgspec.structs.replace(key, label="renamed")
    assert reasons(box, renamed) == {("altered", "private-key has label 'k'"), ("altered", "public-key has label 'k'")}
    other = msgspec.structs.replace(key, spki="0" * 64)
    assert reasons(box, other) == {("altered", f"public key is {key.spki[:16]}, registered is {'0' * 16}")}
    generate_pair(open_raw_session("keys"), key.id, "k")
    found = compare_inventory([key], box.inventory())
    assert "4 objects have this id: private-key, private-key, public-key, public-key" in {item.reason for item in found}
    assert all((item.token, item.id, item.label) == ("keys", key.id, "k") for item in found)


def test_a_key_on_the_wrong_token_is_missing_and_unknown(box: Strongbox) -> None:
    key = box.generate("keys", secrets.token_bytes(16), "k", "p256").name
    kinds = {kind for kind, _ in reasons(box, msgspec.structs.replace(key, token="journal"))}
    assert kinds == {"missing", "unknown"}
