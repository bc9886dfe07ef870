"""The attributes that a key of Kedge has: given when it is generated, read back, and compared before it is used."""

import ctypes
import sys
from collections.abc import Mapping
from typing import Any, Final

from pkcs11 import Attribute, MechanismFlag
from pkcs11.attributes import AttributeMapper, handle_bytes, handle_ulong

from hsm.algorithms import Algorithm

_ULONG_BYTES: Final = ctypes.sizeof(ctypes.c_ulong)
CAPABILITIES: Final = MechanismFlag.SIGN | MechanismFlag.VERIFY

# MODIFIABLE must be false from the start: it cannot be lowered later, and the id cannot change under it.
PRIVATE_FLAGS: Final[dict[Attribute, bool]] = {
    Attribute.TOKEN: True,
    Attribute.PRIVATE: True,
    Attribute.SENSITIVE: True,
    Attribute.SIGN: True,
    Attribute.EXTRACTABLE: False,
    Attribute.DECRYPT: False,
    Attribute.UNWRAP: False,
    Attribute.DERIVE: False,
    Attribute.SIGN_RECOVER: False,
    Attribute.MODIFIABLE: False,
    Attribute.COPYABLE: False,
}

# What only the token can set: the key was made inside and could never leave.
PROVENANCE: Final[dict[Attribute, bool]] = {
    Attribute.LOCAL: True,
    Attribute.ALWAYS_SENSITIVE: True,
    Attribute.NEVER_EXTRACTABLE: True,
}

# PRIVATE: a token that is not logged in must not show the public keys of recovery, nor let anybody replace one.
PUBLIC_FLAGS: Final[dict[Attribute, bool]] = {
    Attribute.TOKEN: True,
    Attribute.PRIVATE: True,
    Attribute.VERIFY: True,
    Attribute.ENCRYPT: False,
    Attribute.WRAP: False,
    Attribute.DERIVE: False,
    Attribute.VERIFY_RECOVER: False,
    Attribute.MODIFIABLE: False,
    Attribute.COPYABLE: False,
}


# A memo (hsm.memos): nobody reads it who has not logged in, and it is replaced, never changed.
MEMO_FLAGS: Final[dict[Attribute, bool]] = {
    Attribute.TOKEN: True,
    Attribute.PRIVATE: True,
    Attribute.MODIFIABLE: False,
}


class TolerantMapper(AttributeMapper):
    """Attribute values of objects that somebody else put into the token must not break a search or an inventory."""

    def __init__(self) -> None:
        super().__init__()
        self.register_handler(Attribute.LABEL, lambda text: str(text).encode(), _unpack_text)
        for attribute in (Attribute.CLASS, Attribute.KEY_TYPE):
            self.register_handler(attribute, lambda value: handle_ulong[0](int(value)), _unpack_number)
        self.register_handler(Attribute.ID, *handle_bytes)
        for attribute in {**PRIVATE_FLAGS, **PROVENANCE, **PUBLIC_FLAGS}:
            self.register_handler(attribute, lambda flag: b"\x01" if flag else b"\x00", lambda raw: raw == b"\x01")


def public_template(algorithm: Algorithm) -> dict[Attribute, Any]:
    """What C_GenerateKeyPair gives the public key, beside id and label."""
    return {**PUBLIC_FLAGS, Attribute.EC_PARAMS: algorithm.parameters[0]}


def private_template() -> dict[Attribute, Any]:
    """What C_GenerateKeyPair gives the private key, beside id and label."""
    return dict(PRIVATE_FLAGS)


def name_attribute(attribute: Attribute) -> str:
    """The name in the standard, for example CKA_LOCAL."""
    return f"CKA_{attribute.name}"


def find_deviations(flags: Mapping[str, bool], expected: Mapping[Attribute, bool]) -> tuple[str, ...]:
    """The expected attributes that read otherwise, or that the token did not tell, as `CKA_LOCAL=false`."""
    found = ((name_attribute(attribute), want) for attribute, want in expected.items())
    return tuple(f"{name}={_spell(flags.get(name))}" for name, want in found if flags.get(name) is not want)


def _spell(flag: bool | None) -> str:
    return "absent" if flag is None else str(flag).lower()


def _unpack_text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def _unpack_number(raw: bytes) -> int:
    return int.from_bytes(raw, sys.byteorder) if len(raw) == _ULONG_BYTES else -1
