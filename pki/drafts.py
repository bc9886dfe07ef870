"""A draft: the exact bytes that keys must sign, and how the document comes to be from the signatures.

`pki` makes drafts, officers approve their digest, the door has them signed. A draft holds no private key.
"""

import hashlib
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import msgspec

from pki.errors import SignatureMissing
from pki.signatures import spki_sha256, verify_raw

_ENCODER = msgspec.json.Encoder()  # the keys of a statement stand in order already


class ToSign(msgspec.Struct, frozen=True, order=True):
    """Bytes that one key must sign. `spki` is the key's lowercase hex SHA-256 of SubjectPublicKeyInfo."""

    spki: str
    data: bytes


class Draft(msgspec.Struct, frozen=True, dict=True):
    """A document that lacks only its signatures.

    kind: what is signed, dotted lower case (`certificate.idevid`, `trust-set`, `image.mcuboot`, ...).
    summary: the one sentence that an officer reads.
    payload: the bytes whose SHA-256 officers approve (a TBS certificate, a COSE payload, an unsigned image).
    to_sign: sorted; one element per key, because COSE_Sign and dual signatures have other bytes for each signer.
    public_keys: SPKI DER by its SHA-256, one for each element of `to_sign`.
    what: the facts the journal records about it (`op.what` of the leaf), JSON values without floats or null.
    assemble: makes the document from raw signatures by SPKI SHA-256; verified by `finish` before it is called.
    """

    kind: str
    summary: str
    payload: bytes
    to_sign: tuple[ToSign, ...]
    public_keys: Mapping[str, bytes]
    what: Mapping[str, Any]
    assemble: Callable[[Mapping[str, bytes]], bytes]

    def __post_init__(self) -> None:
        if list(self.to_sign) != sorted(self.to_sign):
            raise ValueError(f"draft {self.kind}: to_sign is not sorted")
        spkis = [item.spki for item in self.to_sign]
        if len(set(spkis)) != len(spkis):
            raise ValueError(f"draft {self.kind}: a key stands twice in to_sign")
        if any(spki_sha256(self.public_keys[spki]) != spki for spki in spkis):
            raise ValueError(f"draft {self.kind}: a public key is not the one that its digest names")

    @cached_property
    def statement(self) -> bytes:
        """The JCS object (RFC 8785) whose SHA-256 is the digest: kind, payload digest, and who signs which bytes."""
        sign = [[item.spki, hashlib.sha256(item.data).hexdigest()] for item in self.to_sign]
        value = {"kind": self.kind, "payload_sha256": hashlib.sha256(self.payload).hexdigest(), "sign": sign, "v": 1}
        return _ENCODER.encode(value)

    @cached_property
    def digest(self) -> str:
        """What officers approve and the journal records: lowercase hex SHA-256 of `statement`."""
        return hashlib.sha256(self.statement).hexdigest()

    def finish(self, signatures: Mapping[str, bytes]) -> bytes:
        """Verify every raw signature, then assemble the document.

        Raises SignatureMissing when a key did not sign, SignatureInvalid when a signature is not the key's own.
        """
        for item in self.to_sign:
            raw = signatures.get(item.spki)
            if raw is None:
                raise SignatureMissing(f"{self.kind}: no signature by key {item.spki[:16]}")
            verify_raw(self.public_keys[item.spki], raw, item.data)
        return self.assemble(signatures)
