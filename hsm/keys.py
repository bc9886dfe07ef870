"""A key pair in a token: its names, and the checks that it passes before it signs anything."""

from collections.abc import Mapping
from typing import Final

import msgspec
from pkcs11 import types as p11

from hsm.errors import ForeignKey, KeyAltered, KeyAmbiguous, KeyNotFound, PublicKeyDiffers, RequestInvalid
from hsm.module import translate
from hsm.objects import StoredObject, find_objects, handle_of, read_object
from hsm.templates import PRIVATE_FLAGS, PROVENANCE, find_deviations

KEY_ID_BYTES: Final = 16
MAX_LABEL_BYTES: Final = 64


class KeyName(msgspec.Struct, frozen=True):
    """A registered key: the label of its token, its CKA_ID (16 bytes), its public key (`spki`, the lowercase hex
    SHA-256 of the DER SubjectPublicKeyInfo), and its label, which serves messages only.
    """

    token: str
    id: bytes
    spki: str
    label: str

    def __str__(self) -> str:
        return describe_key(self.token, self.id, self.label)


class GeneratedKey(msgspec.Struct, frozen=True):
    """A key that the token has just made, and what shows it.

    `public_key` is a DER SubjectPublicKeyInfo; `attributes` maps CKA names to what was read back from the private
    key; `proof` is the raw signature over `challenge`, verified in software: proof of possession.
    """

    name: KeyName
    public_key: bytes
    algorithm: str
    token_serial: str
    attributes: Mapping[str, bool]
    challenge: bytes
    proof: bytes


class KeyPair(msgspec.Struct, frozen=True):
    """The one private and the one public object with an id, and the handle of the private one."""

    handle: int
    private: StoredObject
    public: StoredObject


def describe_key(token: str, key_id: bytes, label: str = "") -> str:
    """How messages name a key: `token kedge-root, key oem-root/1a...`."""
    return f"token {token}, key {label}/{key_id.hex()}" if label else f"token {token}, key {key_id.hex()}"


def check_key_id(key_id: bytes) -> None:
    """Raises RequestInvalid unless it is 16 bytes: an empty CKA_ID would find every object."""
    if len(key_id) != KEY_ID_BYTES:
        raise RequestInvalid(f"a key id has {KEY_ID_BYTES} bytes, not {len(key_id)}", hint="draw a random one")


def find_pair(session: p11.Session, key_id: bytes, about: str) -> KeyPair:
    """The key pair with an id. Raises KeyNotFound and KeyAmbiguous."""
    check_key_id(key_id)
    with translate("C_FindObjects", about):
        found = find_objects(session, key_id)
    with translate("C_GetAttributeValue", about):
        objects = [(handle_of(item), read_object(item)) for item in found]
    private = [(handle, item) for handle, item in objects if item.kind == "private-key"]
    public = [item for _, item in objects if item.kind == "public-key"]
    if not private or not public:
        raise KeyNotFound(
            f"{about}: {len(private)} private and {len(public)} public objects have this id",
            hint="compare the inventory with the journal",
        )
    if len(objects) > 2:
        raise KeyAmbiguous(
            f"{about}: {len(objects)} objects have this id, one private and one public key are expected",
            hint="somebody has added an object; find out who before the key is used again",
        )
    return KeyPair(private[0][0], private[0][1], public[0])


def check_pair(pair: KeyPair, about: str) -> None:
    """Both halves as generation leaves them. Raises ForeignKey (not made inside this token) and KeyAltered."""
    flags = pair.private.attributes
    if foreign := find_deviations(flags, PROVENANCE):
        raise ForeignKey(
            f"{about}: {', '.join(foreign)}",
            hint="it was not made inside the token and may exist elsewhere: destroy it",
        )
    if altered := find_deviations(flags, PRIVATE_FLAGS):
        raise KeyAltered(f"{about}: {', '.join(altered)}", hint="the key was not made by this program: do not use it")
    if not pair.public.public_key or pair.private.algorithm != pair.public.algorithm:
        raise KeyAltered(
            f"{about}: private key is {pair.private.algorithm or 'unknown'}, "
            f"public key is {pair.public.algorithm or 'unknown'} {'' if pair.public.public_key else 'and invalid'}",
            hint="compare the inventory with the journal",
        )


def check_registered(key: KeyName, spki: str) -> None:
    """The public key in the token, by its SHA-256, is the registered one. Raises PublicKeyDiffers."""
    if spki != key.spki:
        raise PublicKeyDiffers(
            f"{key}: the token holds public key {spki[:16]}, registered is {key.spki[:16]}",
            hint="the object was exchanged or the register is wrong: compare the inventory with the journal",
        )
