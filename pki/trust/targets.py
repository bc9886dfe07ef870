"""What a message is for: hardware, versions and digests (docs/trust.cddl: `target`, `version`, `range`, `digest`)."""

from itertools import zip_longest

import msgspec

from pki.trust.cbor import Value
from pki.trust.shapes import (
    UUID,
    Field,
    Shape,
    array,
    distinct,
    integer,
    nullable,
    octets,
    pair,
    record,
    refuse,
    row,
    text,
)

Version = tuple[int, ...]

SHA256, SHA384 = -16, -43
_DIGEST_SIZES = {SHA256: 32, SHA384: 48}


def compare_versions(one: Version, two: Version) -> int:
    """-1, 0 or 1 as `one` is older than, as old as, or newer than `two`.

    Element by element; an element that is not there counts as 0, so that the negative elements which mark a release
    candidate, beta or alpha sort before the release: 2.0-rc1 is (2, 0, -1, 1), older than (2, 0).
    """
    for left, right in zip_longest(one, two, fillvalue=0):
        if left != right:
            return -1 if left < right else 1
    return 0


class Digest(msgspec.Struct, frozen=True):
    """A hash value. `alg` is the COSE hash algorithm: -16 SHA-256, -43 SHA-384."""

    alg: int
    value: bytes


class Range(msgspec.Struct, frozen=True):
    """Versions from `low` to `high`, both included; None has no upper end."""

    low: Version
    high: Version | None = None

    def contains(self, version: Version) -> bool:
        """Whether a version lies in it."""
        above = compare_versions(version, self.low) >= 0
        return above and (self.high is None or compare_versions(version, self.high) <= 0)


class Target(msgspec.Struct, frozen=True):
    """The devices that a message is for; None means any.

    vendor, class_id: 16 bytes each. revisions: hardware revision ranges (lowest, highest), both included.
    devices: ueids. sites: 16 bytes each. regions: codes that the operator defines.
    """

    vendor: bytes
    class_id: bytes
    revisions: tuple[tuple[int, int], ...]
    devices: tuple[bytes, ...] | None = None
    sites: tuple[bytes, ...] | None = None
    regions: tuple[str, ...] | None = None


def _digest() -> Shape[Digest]:
    plain = row(Digest, Field("alg", integer()), Field("value", octets(32, 48)))

    def read(value: Value, where: str) -> Digest:
        digest = plain.read(value, where)
        if len(digest.value) != _DIGEST_SIZES.get(digest.alg):
            raise refuse(where, "a SHA-256 (-16) or SHA-384 (-43) digest of its size")
        return digest

    return Shape(read, plain.write)


DIGEST = _digest()
VERSION = array(integer(-(1 << 31), (1 << 31) - 1), high=8)
RANGE = row(Range, Field("low", VERSION), Field("high", nullable(VERSION)))
UEID = octets(7, 33)  # RFC 9711 section 4.2.1
_REVISION = integer(-(1 << 31), (1 << 31) - 1)
TARGET = record(
    Target,
    {
        1: Field("vendor", UUID),
        2: Field("class_id", UUID),
        3: Field("revisions", array(pair(_REVISION, _REVISION))),
        4: Field("devices", distinct(UEID), None),
        5: Field("sites", distinct(UUID), None),
        6: Field("regions", distinct(text(64)), None),
    },
)
