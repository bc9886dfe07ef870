"""What somebody with a session behind the strongbox's back can put into a token."""

import hashlib
from typing import Any

import pkcs11
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass

from hsm.algorithms import ALGORITHMS
from hsm.keys import KeyName
from hsm.objects import read_object
from hsm.templates import CAPABILITIES, private_template, public_template

P256 = ALGORITHMS["p256"]


def import_key(session: pkcs11.Session, key_id: bytes, label: str) -> KeyName:
    """Import a software key with every attribute of a real one that can be given."""
    key = ec.generate_private_key(ec.SECP256R1())
    spki = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    common: dict[Attribute, Any] = {
        Attribute.KEY_TYPE: KeyType.EC,
        Attribute.ID: key_id,
        Attribute.LABEL: label,
        Attribute.EC_PARAMS: P256.parameters[0],
    }
    secret = key.private_numbers().private_value.to_bytes(32, "big")
    session.create_object(
        {**private_template(), **common, Attribute.CLASS: ObjectClass.PRIVATE_KEY, Attribute.VALUE: secret}
    )
    point = b"\x04\x41" + spki[-65:]
    session.create_object(
        {**public_template(P256), **common, Attribute.CLASS: ObjectClass.PUBLIC_KEY, Attribute.EC_POINT: point}
    )
    return KeyName(token=session.token.label, id=key_id, spki=hashlib.sha256(spki).hexdigest(), label=label)


def generate_pair(session: pkcs11.Session, key_id: bytes, label: str, **private: bool) -> None:
    """Generate a key inside the token, with other private attributes where they are named."""
    session.generate_keypair(
        KeyType.EC,
        id=key_id,
        label=label,
        store=True,
        capabilities=CAPABILITIES,
        mechanism=Mechanism.EC_KEY_PAIR_GEN,
        public_template=public_template(P256),
        private_template={**private_template(), **{Attribute[name]: value for name, value in private.items()}},
    )


def destroy_half(session: pkcs11.Session, key_id: bytes, half: ObjectClass, keep: str = "") -> None:
    """Destroy the objects of one class with this id, but for the public key with the SHA-256 `keep`."""
    for item in list(session.get_objects({Attribute.CLASS: half, Attribute.ID: key_id})):
        if not keep or read_object(item).spki != keep:
            item.destroy()


def swap_private_key(session: pkcs11.Session, key: KeyName) -> None:
    """Put another private key, made inside the token with the right template, beside the registered public key."""
    destroy_half(session, key.id, ObjectClass.PRIVATE_KEY)
    generate_pair(session, key.id, key.label)
    destroy_half(session, key.id, ObjectClass.PUBLIC_KEY, keep=key.spki)
