"""Objects in a token: finding them by CKA_ID, reading what they are, destroying them. A label is never trusted."""

import hashlib
from collections.abc import Mapping
from typing import Final, Protocol, cast

import msgspec
from pkcs11 import Attribute, ObjectClass
from pkcs11 import types as p11

from hsm.algorithms import Algorithm, encode_spki, find_algorithm, load_public_key
from hsm.templates import MEMO_FLAGS, PRIVATE_FLAGS, PROVENANCE, PUBLIC_FLAGS, name_attribute

_KINDS: Final[dict[int, str]] = {
    ObjectClass.DATA: "data",
    ObjectClass.CERTIFICATE: "certificate",
    ObjectClass.PUBLIC_KEY: "public-key",
    ObjectClass.PRIVATE_KEY: "private-key",
    ObjectClass.SECRET_KEY: "secret-key",
}
_FLAGS: Final[dict[int, tuple[Attribute, ...]]] = {
    ObjectClass.PRIVATE_KEY: (*PRIVATE_FLAGS, *PROVENANCE),
    ObjectClass.PUBLIC_KEY: tuple(PUBLIC_FLAGS),
    ObjectClass.DATA: tuple(MEMO_FLAGS),
}
_IDENTITY: Final = (Attribute.ID, Attribute.LABEL, Attribute.KEY_TYPE, Attribute.EC_PARAMS, Attribute.EC_POINT)


class StoredObject(msgspec.Struct, frozen=True):
    """An object as the token tells it.

    `kind` is `private-key`, `public-key`, `secret-key`, `certificate`, `data` or `class-0x...`. `algorithm` is empty
    when Kedge uses no such key. `public_key` is the DER SubjectPublicKeyInfo and `spki` its SHA-256 in lowercase
    hex; both are empty unless the object is a public key of a known algorithm with its point on the curve.
    `attributes` maps CKA names to flags.
    """

    kind: str
    id: bytes
    label: str
    algorithm: str
    public_key: bytes
    spki: str
    attributes: Mapping[str, bool]


class _Handled(Protocol):
    handle: int


def handle_of(thing: p11.Session | p11.Object) -> int:
    """The PKCS#11 handle of a session or an object; python-pkcs11's type information leaves it out."""
    return cast("_Handled", thing).handle


def find_objects(session: p11.Session, key_id: bytes | None = None) -> list[p11.Object]:
    """All objects with a CKA_ID, of any class; all objects of the token without one. Raises PKCS11Error."""
    return list(session.get_objects({} if key_id is None else {Attribute.ID: key_id}))


def read_object(found: p11.Object) -> StoredObject:
    """What the token tells about an object. Raises PKCS11Error."""
    number = int(found[Attribute.CLASS])
    flags = _FLAGS.get(number, ())
    values = found.get_attributes([*_IDENTITY, *flags])
    algorithm = find_algorithm(values.get(Attribute.EC_PARAMS, b""))
    public_key = b""
    if algorithm is not None and number == ObjectClass.PUBLIC_KEY:
        public_key = _encode_valid(algorithm, values.get(Attribute.EC_POINT, b""))
    return StoredObject(
        kind=_KINDS.get(number, f"class-0x{number:x}"),
        id=values.get(Attribute.ID, b""),
        label=values.get(Attribute.LABEL, ""),
        algorithm=algorithm.name if algorithm else "",
        public_key=public_key,
        spki=hashlib.sha256(public_key).hexdigest() if public_key else "",
        attributes={name_attribute(flag): values[flag] for flag in flags if flag in values},
    )


def _encode_valid(algorithm: Algorithm, point: bytes) -> bytes:
    """The SubjectPublicKeyInfo, or nothing for a point that is none: such an object is listed, and never used."""
    try:
        spki = encode_spki(algorithm, point)
        load_public_key(spki)
    except ValueError:
        return b""
    return spki
