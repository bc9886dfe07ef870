"""The leaf: one entry of the journal as an RFC 8785 (JCS) JSON object, stored and hashed verbatim.

`encode_leaf` refuses whatever `parse_leaf` would refuse, so that no entry is written that an auditor cannot read.
The subset: ASCII keys, strings, booleans, integers within +-(2**53 - 1), lists, objects. No floats, no null; an absent
value is left out. Sorting keys by code point equals the UTF-16 order of RFC 8785 section 3.2.3 for ASCII keys.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Any, Literal, NoReturn

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from pki.log.errors import LeafInvalid

MAX_LEAF = 65_535
MAX_DEPTH = 8
LARGEST_INTEGER = 2**53 - 1
FIRST_PREV = "00" * 32

RECOVER = "log.recover"
"""Its `kctr` is where a key's uses go on from: the lost entries may have counted so far."""
KEY_OPERATIONS = ("key.generate", "key.sign", "key.destroy")
ENTRY_TYPES = frozenset(
    [f"{operation}.{step}" for operation in KEY_OPERATIONS for step in ("intent", "outcome", "denied", "unknown")]
    + ["key.state", "approval", "policy.change", "roster.change", "auth.fail", "hsm.inventory", "receipt.batch"]
    + ["log.start", "log.stop", "log.recover", "log.key.rotate", "export", "suppressed", "probe"]
)
UUID7_PATTERN = "[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
TIME_PATTERN = "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{6}Z"
FAMILY_PATTERN = r"(ceremony|certificate|device|element|grant|quota|station)\.[a-z0-9]+([.-][a-z0-9]+)*"

Text = Annotated[str, Meta(min_length=1, max_length=4096)]
Name = Annotated[str, Meta(min_length=1, max_length=256)]
# The decoder checks lengths, `_check_forms` the letters: one regular expression per entry instead of one per field.
Sha256 = Annotated[str, Meta(min_length=64, max_length=64, extra_json_schema={"pattern": "^[0-9a-f]{64}$"})]
Natural = Annotated[int, Meta(ge=0, le=LARGEST_INTEGER)]
Signature = Annotated[str, Meta(max_length=1024, extra_json_schema={"pattern": "^[A-Za-z0-9_-]{86,}$"})]
Uuid7 = Annotated[str, Meta(min_length=36, max_length=36, extra_json_schema={"pattern": f"^{UUID7_PATTERN}$"})]
Timestamp = Annotated[str, Meta(min_length=27, max_length=27, extra_json_schema={"pattern": f"^{TIME_PATTERN}$"})]


class _Part(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, gc=False):
    """A closed JSON object."""


class Reference(_Part, frozen=True):
    """Another entry: `h` its leaf hash, `i` its index."""

    h: Sha256
    i: Natural


class CountedApproval(Reference, frozen=True):
    """An approval entry that was counted, and the officer's pseudonym."""

    officer: Name


class Monotonic(_Part, frozen=True):
    """Microseconds of the monotonic clock of one boot."""

    boot: Name
    us: Natural


class Node(_Part, frozen=True):
    """The keyroom and the digest of its software."""

    id: Name
    sw: Sha256


class Actor(_Part, frozen=True):
    """Who asked: credential thumbprint, role, source address, stable pseudonym."""

    cred: Name | UnsetType = UNSET
    role: Name | UnsetType = UNSET
    src: Name | UnsetType = UNSET
    sub: Name | UnsetType = UNSET


class KeyUse(_Part, frozen=True):
    """A key of the entry. `id` is its CKA_ID, `token` the token's serial; `kctr` counts its uses from 1."""

    id: Name | UnsetType = UNSET
    kctr: Annotated[int, Meta(ge=1, le=LARGEST_INTEGER)] | UnsetType = UNSET
    label: Name | UnsetType = UNSET
    spki: Sha256 | UnsetType = UNSET
    token: Name | UnsetType = UNSET


class Operation(_Part, frozen=True):
    """What is done: draft digest, kind, mechanism, policy digest, the officers' sentence, and facts by kind."""

    digest: Sha256 | UnsetType = UNSET
    kind: Name | UnsetType = UNSET
    mech: Name | UnsetType = UNSET
    policy: Sha256 | UnsetType = UNSET
    summary: Text | UnsetType = UNSET
    what: dict[str, Any] | UnsetType = UNSET


class Outcome(_Part, frozen=True):
    """How it ended: document digest, CKR name, signatures (base64url, no padding), duration, rule or error."""

    status: Literal["ok", "fail", "denied", "unknown"]
    doc: Sha256 | UnsetType = UNSET
    rv: Name | UnsetType = UNSET
    sigs: Annotated[list[Signature], Meta(min_length=1, max_length=64)] | UnsetType = UNSET
    us: Natural | UnsetType = UNSET
    why: Text | UnsetType = UNSET


class Leaf(_Part, frozen=True):
    """One entry of the journal. Times are RFC 3339 in UTC with six digits; hashes are lowercase hex."""

    v: Literal[1]
    log: Name
    seq: Natural
    prev: Sha256
    id: Uuid7
    type: Name
    ts: Timestamp
    mono: Monotonic
    node: Node
    ref: Reference | UnsetType = UNSET
    req: Name | UnsetType = UNSET
    cer: Name | UnsetType = UNSET
    chg: Name | UnsetType = UNSET
    actor: Actor | UnsetType = UNSET
    keys: Annotated[list[KeyUse], Meta(min_length=1, max_length=64)] | UnsetType = UNSET
    op: Operation | UnsetType = UNSET
    apr: Annotated[list[CountedApproval], Meta(min_length=1, max_length=64)] | UnsetType = UNSET
    out: Outcome | UnsetType = UNSET


_ENCODER = msgspec.json.Encoder(order="sorted")
_LEAF = msgspec.json.Decoder(Leaf)
_ANY = msgspec.json.Decoder()
_ID = re.compile(rf"{UUID7_PATTERN}\Z")
_TIME = re.compile(rf"{TIME_PATTERN}\Z")
_SIGNATURE = re.compile(r"[A-Za-z0-9_-]{86,}\Z")
_FAMILY = re.compile(rf"{FAMILY_PATTERN}\Z")
_STATUS = {"outcome": ("ok", "fail"), "denied": ("denied",), "unknown": ("unknown",)}


def encode_leaf(leaf: Mapping[str, Any]) -> bytes:
    """The bytes of an entry, from plain dicts, lists, strings and integers. Raises LeafInvalid."""
    try:
        data = _ENCODER.encode(leaf)
    except (TypeError, UnicodeEncodeError, RecursionError, msgspec.MsgspecError) as error:
        raise LeafInvalid(f"the entry cannot be encoded: {error}") from error
    _read_leaf(data)
    return data


def parse_leaf(data: bytes) -> Leaf:
    """Read an entry, strictly: the bytes must be those that encoding its value gives. Raises LeafInvalid."""
    leaf = _read_leaf(data)
    # Catches spaces, other orders and escapes, duplicate keys and numbers in another spelling.
    if _ENCODER.encode(_ANY.decode(data)) != data:
        raise LeafInvalid("the entry is not in the canonical form of RFC 8785")
    return leaf


def _read_leaf(data: bytes) -> Leaf:
    if len(data) > MAX_LEAF:
        raise LeafInvalid(f"the entry has {len(data)} bytes, at most {MAX_LEAF} are allowed")
    try:
        leaf = _LEAF.decode(data)
    except (UnicodeDecodeError, RecursionError, msgspec.MsgspecError) as error:
        raise LeafInvalid(f"the entry is not a leaf: {error}") from error
    _check_forms(leaf)
    if leaf.op is not UNSET and leaf.op.what is not UNSET:
        _check_value(leaf.op.what, "op.what", MAX_DEPTH)
    _check_type(leaf)
    return leaf


def _refuse(leaf: Leaf, what: str) -> NoReturn:
    raise LeafInvalid(f"a {leaf.type} entry {what}")


def _check_forms(leaf: Leaf) -> None:
    """The letters of ids, times, digests and signatures."""
    digests = [leaf.prev, leaf.node.sw]
    if leaf.ref is not UNSET:
        digests.append(leaf.ref.h)
    if leaf.keys is not UNSET:
        digests += [key.spki for key in leaf.keys if key.spki is not UNSET]
    if leaf.op is not UNSET:
        digests += [digest for digest in (leaf.op.digest, leaf.op.policy) if digest is not UNSET]
    if leaf.apr is not UNSET:
        digests += [approval.h for approval in leaf.apr]
    if leaf.out is not UNSET:
        if leaf.out.doc is not UNSET:
            digests.append(leaf.out.doc)
        if leaf.out.sigs is not UNSET and not all(map(_SIGNATURE.match, leaf.out.sigs)):
            raise LeafInvalid("a signature in out.sigs is not base64url without padding")
    # Deleting all hex digits leaves nothing: a quarter of the time of a regular expression.
    if not _ID.match(leaf.id) or "".join(digests).encode().translate(None, b"0123456789abcdef"):
        raise LeafInvalid("id is no UUIDv7, or a digest no lowercase hex")
    _check_time(leaf.ts)


@lru_cache(maxsize=64)  # the entries of a batch have one time
def _check_time(text: str) -> None:
    try:
        if not _TIME.match(text):
            raise LeafInvalid("ts is no RFC 3339 time in UTC with six digits")
        datetime.fromisoformat(text)
    except ValueError as error:
        raise LeafInvalid(f"ts {text} is no time: {error}") from error


def _check_value(value: object, path: str, depth: int) -> None:
    """The JSON subset for the free part of a leaf."""
    if depth and type(value) is dict and {str}.issuperset(map(type, value.values())) and "".join(value).isascii():
        return  # most are an object of texts: seen without a loop
    if isinstance(value, str | bool):
        return
    if isinstance(value, int):
        if not -LARGEST_INTEGER <= value <= LARGEST_INTEGER:
            raise LeafInvalid(f"{path}: an integer beyond 2**53 - 1")
        return
    if not isinstance(value, dict | list):
        raise LeafInvalid(f"{path}: {'null' if value is None else type(value).__name__} is not allowed")
    if depth == 0:
        raise LeafInvalid(f"{path}: nested deeper than {MAX_DEPTH}")
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(key, str) and not key.isascii():
            raise LeafInvalid(f"{path}: the key {key!r} is not ASCII")
        _check_value(item, f"{path}.{key}", depth - 1)


def _check_type(leaf: Leaf) -> None:
    """Which fields a type must have, and which only it may have (see `pki.log.schema` for the same as JSON Schema)."""
    if leaf.type not in ENTRY_TYPES and not _FAMILY.match(leaf.type):
        raise LeafInvalid(f"{leaf.type} is not a type of entry")
    operation, _, step = leaf.type.rpartition(".")
    if operation not in KEY_OPERATIONS:
        step = ""
    if (leaf.ref is not UNSET) is not (step in ("outcome", "unknown")):
        _refuse(leaf, "must name its intent in ref" if leaf.ref is UNSET else "has no intent, but a ref")
    if step == "intent":
        _check_intent(leaf, operation)
        return
    if leaf.type != RECOVER and leaf.keys is not UNSET and any(key.kctr is not UNSET for key in leaf.keys):
        _refuse(leaf, "must not have a kctr: only intents count the uses of a key")
    if step in _STATUS:
        if leaf.out is UNSET or leaf.out.status not in _STATUS[step]:
            _refuse(leaf, f"must have out.status {' or '.join(_STATUS[step])}")
        if leaf.out.sigs is not UNSET and step != "outcome":
            _refuse(leaf, "must not have signatures")
        if step == "denied" and leaf.out.why is UNSET:
            _refuse(leaf, "must say in out.why which rule refused")


def _check_intent(leaf: Leaf, operation: str) -> None:
    if leaf.actor is UNSET or leaf.op is UNSET or leaf.op.kind is UNSET or leaf.keys is UNSET:
        _refuse(leaf, "must have actor, keys and op.kind")
    if leaf.out is not UNSET:
        _refuse(leaf, "must not have out: nothing has happened yet")
    if operation == "key.sign" and leaf.op.digest is UNSET:
        _refuse(leaf, "must have op.digest")
    for key in leaf.keys:
        if operation == "key.sign" and (key.spki is UNSET or key.kctr is UNSET):
            _refuse(leaf, "must have spki and kctr for each key")
        if key.kctr is not UNSET and key.spki is UNSET:
            _refuse(leaf, "counts the uses of a key without an spki")
