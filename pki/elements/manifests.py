"""Manifests of secure elements, as Microchip describes them for its Trust Platform ("Trust Platform Manifest File
Format": a JSON array of SignedSecureElement objects, each a JWS in flattened JSON, RFC 7515 section 7.2.2).

Two words must agree before a key counts as one that lives in an element: the manifest's signer, whose certificate is
pinned and named by `x5t#S256`; and the maker's own CA, by a certificate for the key (`x5c`, RFC 7517 section 4.7) that
leads to a pinned root. Other keys of an element have the first only, and are left out.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from msgspec import Meta

from pki.elements.errors import ManifestRefused
from pki.elements.paths import find, read_one, verify_path
from pki.errors import PkiError
from pki.jcs import JsonMalformed, parse_json
from pki.signatures import spki_sha256, verify_raw

SIZE_LIMIT: Final = 16 << 20
ENTRIES_LIMIT: Final = 5_000
PAYLOAD_LIMIT: Final = 32_768
HEADER_LIMIT: Final = 2_048
KEYS_LIMIT: Final = 16
CHAIN_LIMIT: Final = 4

_BASE64URL = re.compile(r"[A-Za-z0-9_-]*\Z")
Text = Annotated[str, Meta(max_length=65_536)]
UniqueId = Annotated[str, Meta(pattern=r"^([0-9a-f]{2}){4,32}\Z")]


class _Named(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The unprotected header: it repeats the payload's uniqueId, for those who search the file."""

    unique_id: UniqueId = msgspec.field(name="uniqueId")


class _Signed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """SignedSecureElement."""

    payload: Text
    protected: Text
    signature: Text
    header: _Named


class _Protected(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """SignedSecureElementProtectedHeader. What is not here (`crit`, `b64`, `x5c`) changes what a signature means."""

    alg: str
    signer: Annotated[str, Meta(min_length=43, max_length=43)] = msgspec.field(name="x5t#S256")
    typ: str = "JWT"
    kid: str = ""


class _Key(msgspec.Struct, frozen=True):
    """PublicJWK; further members are signed and not needed."""

    kty: str
    crv: str
    x: Text
    y: Text
    x5c: Annotated[tuple[Text, ...], Meta(max_length=CHAIN_LIMIT)] = ()


class _KeySet(msgspec.Struct, frozen=True):
    """A JWK Set."""

    keys: Annotated[tuple[_Key, ...], Meta(max_length=KEYS_LIMIT)]


class _Payload(msgspec.Struct, frozen=True):
    """SecureElement; further members are signed and not needed."""

    unique_id: UniqueId = msgspec.field(name="uniqueId")
    keys: _KeySet = msgspec.field(name="publicKeySet")
    part: Annotated[str, Meta(max_length=64)] = msgspec.field(name="partNumber", default="")


class ManifestKey(msgspec.Struct, frozen=True):
    """A key that lives in a secure element: its name (hex SHA-256 of SubjectPublicKeyInfo), the element's unique id."""

    spki: str
    unique_id: str
    part: str


class BadEntry(msgspec.Struct, frozen=True):
    """An entry of a manifest (the first is 1; 0 is the file) that does not count, and why."""

    entry: int
    why: str


class Pins(msgspec.Struct, frozen=True):
    """Who is believed: certificates of manifest signers, and of CAs above elements' certificates."""

    signers: tuple[x509.Certificate, ...]
    roots: tuple[x509.Certificate, ...]


def read_manifest(data: bytes, pins: Pins, at: datetime) -> tuple[dict[int, ManifestKey], list[BadEntry]]:
    """The keys of a manifest by the numbers of their entries, and the entries that do not count. Whoever imports a
    file takes all of it or nothing.

    A unique id or a key that comes twice is bad where it comes again.
    """
    keys: dict[int, ManifestKey] = {}
    bad: list[BadEntry] = []
    try:
        values = _list_entries(data, pins)
    except PkiError as error:
        return {}, [BadEntry(0, error.message)]
    known = {hashlib.sha256(item.public_bytes(Encoding.DER)).digest(): item for item in pins.signers}
    seen: dict[str, int] = {}
    for number, value in enumerate(values, 1):
        try:
            key = _read_entry(value, known, pins.roots, at)
            _check_new(key, seen)
        except PkiError as error:
            bad.append(BadEntry(number, error.message))
            continue
        keys[number] = key
        seen |= {key.unique_id: number, key.spki: number}
    return keys, bad


def _list_entries(data: bytes, pins: Pins) -> list[Any]:
    if not pins.signers or not pins.roots:
        raise ManifestRefused("the policy pins no signer of manifests, or no root of elements' certificates")
    values = parse_json(data, SIZE_LIMIT)
    if not isinstance(values, list) or not 1 <= len(values) <= ENTRIES_LIMIT:
        raise ManifestRefused(f"the file is no array of 1 to {ENTRIES_LIMIT} entries")
    return values


def _check_new(key: ManifestKey, seen: dict[str, int]) -> None:
    for name, what in ((key.unique_id, "unique id"), (key.spki, "key")):
        if name in seen:
            raise ManifestRefused(f"{what} {name} stands in entry {seen[name]} already")


def _read_entry(
    value: Any, known: dict[bytes, x509.Certificate], roots: Sequence[x509.Certificate], at: datetime
) -> ManifestKey:
    signed = _convert(value, _Signed, "entry")
    header = _convert(_parse(signed.protected, HEADER_LIMIT, "protected header"), _Protected, "protected header")
    if header.alg != "ES256" or header.typ != "JWT":
        raise ManifestRefused("the entry is not signed with ES256")
    _verify(signed, known.get(decode_url(header.signer)), at)
    payload = _convert(_parse(signed.payload, PAYLOAD_LIMIT, "payload"), _Payload, "payload")
    if payload.unique_id != signed.header.unique_id:
        raise ManifestRefused(f"the header names element {signed.header.unique_id}, the payload {payload.unique_id}")
    certified = [key for key in payload.keys.keys if key.x5c]
    if len(certified) != 1:
        raise ManifestRefused(f"element {payload.unique_id} has {len(certified)} keys with a certificate, not one")
    return ManifestKey(_read_key(certified[0], roots, at), payload.unique_id, payload.part)


def _verify(signed: _Signed, signer: x509.Certificate | None, at: datetime) -> None:
    """Raises ManifestRefused, or SignatureInvalid."""
    if signer is None:
        raise ManifestRefused("the entry's signer is not pinned", hint="only officers pin signers, in the policy")
    if not signer.not_valid_before_utc <= at <= signer.not_valid_after_utc:
        raise ManifestRefused("the certificate of the entry's signer is not valid now")
    key = signer.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        raise ManifestRefused("the entry's signer has no key for ES256")
    usage = find(signer, x509.KeyUsage)
    if usage is not None and not usage.digital_signature:
        raise ManifestRefused("the key of the entry's signer is not for signatures")
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    verify_raw(spki, decode_url(signed.signature), f"{signed.protected}.{signed.payload}".encode())


def _read_key(key: _Key, roots: Sequence[x509.Certificate], at: datetime) -> str:
    """The name of an element's key, whose certificate leads to a root. Raises ManifestRefused, PathRefused."""
    try:
        chain = [read_one(base64.b64decode(text, validate=True)) for text in key.x5c]
    except binascii.Error as error:
        raise ManifestRefused("a certificate in x5c is not base64") from error
    own, constraints = chain[0].public_key(), find(chain[0], x509.BasicConstraints)
    if constraints is not None and constraints.ca:
        raise ManifestRefused("the first certificate in x5c is one of a CA")
    if not isinstance(own, ec.EllipticCurvePublicKey) or own.curve.name != "secp256r1":
        raise ManifestRefused("the element's key is not on P-256")
    numbers = own.public_numbers()
    written = (b"EC", b"P-256", numbers.x.to_bytes(32, "big"), numbers.y.to_bytes(32, "big"))
    if (key.kty.encode(), key.crv.encode(), decode_url(key.x), decode_url(key.y)) != written:
        raise ManifestRefused("the key is not the one that its certificate is for")
    verify_path(chain[0], chain[1:], roots, at)
    return spki_sha256(own.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def _parse(text: str, limit: int, what: str) -> Any:
    try:
        return parse_json(decode_url(text), limit)
    except JsonMalformed as error:
        raise ManifestRefused(f"{what}: {error.message}") from error


def _convert(value: Any, kind: Any, what: str) -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise ManifestRefused(f"{what}: {error}") from error


def decode_url(text: str) -> bytes:
    """Base64url without padding, in its one spelling (RFC 7515 section 2). Raises ManifestRefused."""
    if not _BASE64URL.match(text) or len(text) % 4 == 1:
        raise ManifestRefused("a part is not base64url without padding")
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if base64.urlsafe_b64encode(data).rstrip(b"=").decode() != text:
        raise ManifestRefused("a part is not base64url in its one spelling")
    return data
