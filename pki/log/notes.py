"""Signed notes and verifier keys (c2sp.org/signed-note), with cosignatures (c2sp.org/tlog-cosignature).

Signature types: 0x01, Ed25519 over the text, for logs; 0x04, timestamped Ed25519 cosignature, for witnesses.
Stricter than the standard where that costs nothing: base64 must be canonical, and a known key signs once.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable
from typing import Literal

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from pki.log.errors import NoteInvalid, NoteUnsigned, VerifierKeyInvalid

MAX_NOTE = 256 * 1024
MAX_SIGNATURES = 64
LOG_KEY: Literal[1] = 1
WITNESS_KEY: Literal[4] = 4

_DASH = "\u2014 "
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")


class VerifierKey(msgspec.Struct, frozen=True, order=True):
    """A key that signs notes: its name, its type (`LOG_KEY` or `WITNESS_KEY`) and its 32 bytes (RFC 8032)."""

    name: str
    kind: int
    public_key: bytes

    def __post_init__(self) -> None:
        if not is_key_name(self.name):
            raise VerifierKeyInvalid(f"{self.name!r} is no key name", hint="no spaces, no plus signs, not empty")
        if self.kind not in (LOG_KEY, WITNESS_KEY) or len(self.public_key) != 32:
            raise VerifierKeyInvalid(f"{self.name}: not an Ed25519 key of type 0x01 or 0x04")

    @property
    def key_id(self) -> bytes:
        """The first four bytes of SHA-256(name || LF || type || key)."""
        return hashlib.sha256(f"{self.name}\n".encode() + bytes([self.kind]) + self.public_key).digest()[:4]

    def encode(self) -> str:
        """The text form (vkey): name+hex(key id)+base64(type || key)."""
        material = base64.b64encode(bytes([self.kind]) + self.public_key).decode()
        return f"{self.name}+{self.key_id.hex()}+{material}"


class NoteSignature(msgspec.Struct, frozen=True):
    """One signature line: key name, four bytes of key id, and what the key's type prescribes."""

    name: str
    key_id: bytes
    signature: bytes

    def encode(self) -> bytes:
        """The line, with its newline."""
        return f"{_DASH}{self.name} {base64.b64encode(self.key_id + self.signature).decode()}\n".encode()


class Note(msgspec.Struct, frozen=True):
    """A note whose signatures nobody has looked at yet. `text` ends in a newline."""

    text: bytes
    signatures: tuple[NoteSignature, ...]


class VerifiedSignature(msgspec.Struct, frozen=True):
    """A key that has signed, and for a cosignature when (POSIX seconds; 0 for a log key)."""

    key: VerifierKey
    timestamp: int


def is_key_name(name: str) -> bool:
    """Whether a name may stand in a signature line: printable, without spaces (Unicode) and plus signs."""
    return 0 < len(name) <= 256 and not any(char.isspace() or char == "+" or char < " " for char in name)


def parse_vkey(text: str) -> VerifierKey:
    """Read a verifier key. Raises VerifierKeyInvalid."""
    name, _, rest = text.partition("+")
    key_id, _, material = rest.partition("+")
    data = _decode_base64(material)
    if data is None or len(data) != 33:
        raise VerifierKeyInvalid(f"{text[:80]!r} is no Ed25519 verifier key", hint="expected name+id+base64")
    key = VerifierKey(name, data[0], data[1:])
    if key.key_id.hex() != key_id:
        raise VerifierKeyInvalid(f"{name}: the key id is {key_id!r}, {key.key_id.hex()!r} is expected")
    return key


def assemble_note(text: bytes, name: str, key_id: bytes, signature: bytes) -> bytes:
    """A note with its first signature. `text` ends in a newline."""
    return text + b"\n" + NoteSignature(name, key_id, signature).encode()


def add_signature(note: bytes, name: str, key_id: bytes, signature: bytes) -> bytes:
    """The note with one more line: the second key of a rotation, or a cosignature. Raises NoteInvalid."""
    result = note + NoteSignature(name, key_id, signature).encode()
    parse_note(result)
    return result


def cosigned_text(text: bytes, timestamp: int) -> bytes:
    """What a witness signs at `timestamp` (POSIX seconds). The line carries uint64(timestamp) || signature."""
    return b"cosignature/v1\ntime %d\n" % timestamp + text


def parse_note(data: bytes) -> Note:
    """Split a note into text and signature lines. Verifies nothing. Raises NoteInvalid."""
    if len(data) > MAX_NOTE:
        raise NoteInvalid(f"the note has {len(data)} bytes, at most {MAX_NOTE} are allowed")
    try:
        decoded = data.decode()
    except UnicodeDecodeError as error:
        raise NoteInvalid("the note is not UTF-8") from error
    text, blank, tail = decoded.rpartition("\n\n")
    if not blank or not text or _CONTROL.search(decoded):
        raise NoteInvalid("the note has no text, no blank line before its signatures, or a control character")
    if not tail.endswith("\n"):
        raise NoteInvalid("the note has no signatures, or its last line no newline")
    lines = tail[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise NoteInvalid(f"the note has {len(lines)} signatures, at most {MAX_SIGNATURES} are allowed")
    signatures = tuple(map(_parse_line, lines))
    return Note(f"{text}\n".encode(), signatures)


def verify_note(data: bytes, keys: Iterable[VerifierKey]) -> tuple[Note, tuple[VerifiedSignature, ...]]:
    """Parse a note and verify each signature whose name and id are those of one of the keys; others are ignored.

    Raises NoteInvalid, also when a known key's signature is false, and NoteUnsigned when no known key has signed.
    """
    note = parse_note(data)
    known: dict[tuple[str, bytes], VerifierKey] = {}
    for key in keys:
        if known.setdefault((key.name, key.key_id), key) != key:
            raise NoteInvalid(f"two known keys have the name {key.name} and the id {key.key_id.hex()}")
    found = [(known[item.name, item.key_id], item) for item in note.signatures if (item.name, item.key_id) in known]
    if not found:
        names = ", ".join(item.name for item in note.signatures)
        hint = "check the trust file; was the key changed? (docs/journal.md)"
        raise NoteUnsigned(f"the note is signed by no known key, but by: {names}", hint=hint)
    if len({(key.name, key.key_id) for key, _ in found}) != len(found):
        raise NoteInvalid("a known key has two signature lines")
    return note, tuple(VerifiedSignature(key, _verify(note.text, key, item.signature)) for key, item in found)


def _verify(text: bytes, key: VerifierKey, signature: bytes) -> int:
    timestamp, message = 0, text
    if key.kind == WITNESS_KEY:
        timestamp, signature = int.from_bytes(signature[:8], "big"), signature[8:]
        message = cosigned_text(text, timestamp)
    try:
        if timestamp >= 2**63:
            raise InvalidSignature
        Ed25519PublicKey.from_public_bytes(key.public_key).verify(signature, message)
    except (InvalidSignature, ValueError) as error:
        raise NoteInvalid(f"the signature of {key.name} ({key.key_id.hex()}) is false") from error
    return timestamp


def _parse_line(line: str) -> NoteSignature:
    name, _, material = line.removeprefix(_DASH).partition(" ")
    data = _decode_base64(material)
    if not line.startswith(_DASH) or not is_key_name(name) or data is None or len(data) < 5:
        raise NoteInvalid(f"{line[:80]!r} is no signature line")
    return NoteSignature(name, data[:4], data[4:])


def _decode_base64(text: str) -> bytes | None:
    """Standard base64 (RFC 4648 section 4), in its one canonical spelling."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if base64.b64encode(data).decode() == text else None
