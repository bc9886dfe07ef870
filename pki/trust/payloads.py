"""Payloads: what COSE signs, as values that know their deterministic bytes."""

import hashlib
from functools import cached_property
from typing import Any, ClassVar, Self

import msgspec

from pki.trust import cbor
from pki.trust.shapes import Shape

MAX_PAYLOAD = 1 << 18


class Payload(msgspec.Struct, frozen=True, dict=True):
    """A value with one signed encoding. `NAME` is its rule in docs/trust.cddl, `shape` that rule."""

    NAME: ClassVar[str]
    shape: ClassVar[Shape[Any]]

    @classmethod
    def from_payload(cls, payload: bytes) -> Self:
        """Parse the bytes that COSE signs. Raises a CborInvalid leaf or PayloadInvalid."""
        value: Self = cls.shape.read(cbor.decode(payload, max_size=MAX_PAYLOAD), cls.NAME)
        return value

    @classmethod
    def typ(cls) -> str:
        """The `typ` header of its signed object."""
        return f"application/kedge-{cls.NAME}+cbor"

    @cached_property
    def _payload(self) -> bytes:
        return cbor.encode(type(self).shape.write(self))

    def to_payload(self) -> bytes:
        """Its deterministic CBOR; a value that was parsed gives the bytes that it came from."""
        return self._payload

    @cached_property
    def payload_sha256(self) -> bytes:
        """SHA-256 of the payload: the hash by which every other message names this one."""
        return hashlib.sha256(self._payload).digest()
