"""Receipts: a device on itself, signed by its identity key (EAT, RFC 9711; docs/trust.cddl, `receipt-claims`)."""

import enum
import hashlib
from collections.abc import Mapping

import msgspec

from pki.drafts import Draft
from pki.trust.cose import check_typ, parse_sign1, verify_sign1
from pki.trust.drafts import draft_sign1
from pki.trust.errors import IdentityMismatch, NonceMismatch
from pki.trust.keys import CoseKey
from pki.trust.payloads import Payload
from pki.trust.sets import DOMAIN, KID, SET_REF, Domain, SetRef
from pki.trust.shapes import (
    BOOL,
    HASH,
    SECONDS,
    UUID,
    Field,
    array,
    choice,
    distinct,
    integer,
    octets,
    record,
    row,
    single,
    table,
    text,
    uint,
)
from pki.trust.targets import UEID, VERSION, Version


class State(enum.IntEnum):
    """Where a device stands on its way to the newest set."""

    STABLE = 0
    PENDING = 1
    TRIAL_RUNNING = 2
    FAILED = 3


class Phase(enum.IntEnum):
    """The phase of an installation that failed."""

    RECEIVE = 1
    WRITE = 2
    BOOT = 3
    HEALTH = 4


class TrustReport(msgspec.Struct, frozen=True):
    """Current and pending set. `recovery_hash` is SHA-256 of the encoding of the current set's recovery field."""

    current: SetRef
    state: State
    pending: SetRef | None
    recovery_hash: bytes


class CounterReading(msgspec.Struct, frozen=True):
    """The logical floor, the raw hardware count and the counts that are left."""

    logical: int
    raw: int
    left: int


class SlotReport(msgspec.Struct, frozen=True):
    """A slot: SHA-256 of its image, security version, the kids under which the image verifies, the slot's state."""

    slot: int
    image_sha256: bytes
    security_version: int
    keys: tuple[bytes, ...]
    state: int
    version: Version | None = None
    manifest_id: bytes | None = None


class CampaignReport(msgspec.Struct, frozen=True):
    """Progress in a campaign. `previous` is SHA-256 of the payload of the receipt before this one."""

    campaign: bytes
    sequence: int
    result: int
    phase: Phase | None = None
    authorization: bytes | None = None
    previous: bytes | None = None


class Canary(msgspec.Struct, frozen=True):
    """SHA-256 of the canary manifest's payload, and whether the device rejected it."""

    digest: bytes
    rejected: bool


class ReceiptClaims(Payload, frozen=True):
    """The claims of a receipt.

    nonce: of the challenge. ueid: 0x01 followed by SHA-256 of the identity key's SPKI (RFC 9711 section 4.2.1).
    oemid, hwmodel: bytes. hwversion: text (section 4.2.5, without a scheme). dbgstat: 0 to 4 (section 4.2.9).
    profile: section 4.3.2. bootcount: section 4.2.11. issued_at: seconds since 1970 (CWT iat).
    """

    NAME = "receipt-claims"

    nonce: bytes
    ueid: bytes
    oemid: bytes
    hwmodel: bytes
    hwversion: str
    dbgstat: int
    profile: str
    bootcount: int
    trust: TrustReport
    counters: Mapping[Domain, CounterReading]
    slots: tuple[SlotReport, ...]
    campaign: CampaignReport
    issued_at: int | None = None
    oemboot: bool | None = None
    bootseed: bytes | None = None
    canary: Canary | None = None
    evidence: bytes | None = None


_TRUST = record(
    TrustReport,
    {
        1: Field("current", SET_REF),
        2: Field("state", choice(State)),
        3: Field("pending", SET_REF, None),
        4: Field("recovery_hash", HASH),
    },
)
_COUNTER = row(CounterReading, Field("logical", uint()), Field("raw", uint()), Field("left", uint()))
_SLOT = record(
    SlotReport,
    {
        1: Field("slot", uint(255)),
        2: Field("image_sha256", HASH),
        3: Field("security_version", uint()),
        4: Field("keys", distinct(KID, low=0, high=16)),
        5: Field("state", uint(255)),
        6: Field("version", VERSION, None),
        7: Field("manifest_id", UUID, None),
    },
)
_CAMPAIGN = record(
    CampaignReport,
    {
        1: Field("campaign", UUID),
        2: Field("sequence", uint()),
        3: Field("result", integer(-(1 << 31), (1 << 31) - 1)),
        4: Field("phase", choice(Phase), None),
        5: Field("authorization", UUID, None),
        6: Field("previous", HASH, None),
    },
)
_CANARY = record(Canary, {1: Field("digest", HASH), 2: Field("rejected", BOOL)})
ReceiptClaims.shape = record(
    ReceiptClaims,
    {
        6: Field("issued_at", SECONDS, None),
        10: Field("nonce", octets(8, 64)),
        256: Field("ueid", UEID),
        258: Field("oemid", octets(3, 16)),
        259: Field("hwmodel", octets(1, 32)),
        260: Field("hwversion", single(text(64))),
        262: Field("oemboot", BOOL, None),
        263: Field("dbgstat", uint(4)),
        265: Field("profile", text(256)),
        267: Field("bootcount", uint()),
        268: Field("bootseed", octets(32, 64), None),
        -70001: Field("trust", _TRUST),
        -70002: Field("counters", table(DOMAIN, _COUNTER)),
        -70003: Field("slots", array(_SLOT, high=16)),
        -70004: Field("campaign", _CAMPAIGN),
        -70005: Field("canary", _CANARY, None),
        -70006: Field("evidence", octets(1, 1 << 14), None),
    },
)


def compute_ueid(spki: bytes) -> bytes:
    """The ueid of the device whose identity key has this DER SubjectPublicKeyInfo: 0x01, then its SHA-256."""
    return b"\x01" + hashlib.sha256(spki).digest()


def verify_receipt(spki: bytes, message: bytes, *, nonce: bytes | None = None) -> ReceiptClaims:
    """A receipt by the device whose identity key was pinned as this DER SubjectPublicKeyInfo.

    nonce: of the challenge that it must answer; None leaves that to the caller. Raises SignatureInvalid,
    IdentityMismatch, NonceMismatch, or another TrustError or CborInvalid leaf.
    """
    signed = parse_sign1(message)
    check_typ(signed.typ, ReceiptClaims.typ())
    claims = ReceiptClaims.from_payload(verify_sign1(signed, CoseKey.from_spki(spki)))
    if claims.ueid != compute_ueid(spki):
        raise IdentityMismatch(f"receipt names device {claims.ueid.hex()[:16]}, another device's key signed it")
    if nonce is not None and claims.nonce != nonce:
        raise NonceMismatch("receipt answers another challenge", hint="send a fresh challenge")
    return claims


def draft_receipt(spki: bytes, claims: ReceiptClaims) -> Draft:
    """A draft of a receipt, to be signed by the device's identity key."""
    return draft_sign1(
        claims,
        CoseKey.from_spki(spki),
        summary=f"Receipt {claims.campaign.sequence} of device {claims.ueid.hex()[:16]}",
        what={"ueid": claims.ueid.hex(), "sequence": claims.campaign.sequence, "hash": claims.payload_sha256.hex()},
        check=lambda message: verify_receipt(spki, message),
    )
