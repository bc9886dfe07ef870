"""What a class of devices can do, and what one device was born with: values that never change in the field."""

import enum
import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import msgspec

from pki.trust.device_errors import CounterUnreachable
from pki.trust.sets import Domain, TrustSet
from pki.trust.targets import Version

DOMAINS = len(Domain)


class VerifiedImage(Protocol):
    """What a container's verifier says of an image that it accepts (`pki.formats.mcuboot_verify.VerifiedImage`)."""

    @property
    def digest(self) -> bytes:
        """The digest that the signatures cover."""
        ...

    @property
    def version(self) -> Version:
        """The firmware version."""
        ...

    @property
    def security_counter(self) -> int:
        """The security version, compared with the floor."""
        ...

    @property
    def class_id(self) -> bytes:
        """The device class, 16 bytes."""
        ...

    @property
    def vendor_id(self) -> bytes:
        """The vendor, 16 bytes."""
        ...

    @property
    def keys(self) -> tuple[str, ...]:
        """The given keys under which a signature verifies, by SPKI SHA-256."""
        ...


# The bootloader's verifier: image and DER SubjectPublicKeyInfos; raises a PkiError when it would not boot.
ImageVerifier = Callable[[bytes, tuple[bytes, ...]], VerifiedImage]


class BankProtection(enum.Enum):
    """What makes a bank of trust sets authentic (A.2)."""

    BOOTLOADER_FLASH = "bootloader-flash"
    DEVICE_MAC = "device-mac"
    HELD_DIGEST = "held-digest"


class CounterModel(msgspec.Struct, frozen=True):
    """How a hardware counter encodes a logical value: count = base + stride * value.

    capacity: the highest count. stride: counts per value, above what a power cut may skip (ATECC608B: 8).
    base: the count at birth (a TPM NV counter does not start at 0). reserve: percent of the values that stay unused.
    """

    capacity: int
    stride: int = 1
    base: int = 0
    reserve: int = 25

    def value_of(self, count: int) -> int:
        """The logical value of a count; counts skipped inside a stride change nothing."""
        return max(0, count - self.base) // self.stride

    def left(self, count: int) -> int:
        """The counts that the hardware still has."""
        return max(0, self.capacity - count)

    @property
    def highest(self) -> int:
        """The highest logical value that keeps the reserve."""
        return (self.capacity - self.base) // self.stride * (100 - self.reserve) // 100

    def check_reachable(self, value: int) -> None:
        """Raise CounterUnreachable unless the counter can reach the value and keep its reserve."""
        if value > self.highest:
            raise CounterUnreachable(
                f"value {value} is above {self.highest}, the highest that keeps the counter's reserve",
                hint="the budget of this hardware is used up; plan its replacement",
            )


ATECC608B = CounterModel(capacity=2_097_151, stride=8)
LPC55_CFPA = CounterModel(capacity=2**32 - 1)
TPM_NV = CounterModel(capacity=2**63 - 1)
SOFT = CounterModel(capacity=2**31 - 1)


class ClassProfile(msgspec.Struct, frozen=True):
    """A device class.

    domain: the counter domain, and component number, of the slots A and B. counters: by domain; domain 0 is a must.
    hardware_revision, bootloader: what manifests are compared with. verify_image: the bootloader's verifier.
    max_trials: boots that a trial gets at most. slot_size: bytes.
    site_authorization: every installation needs the site's word (C.3).
    """

    fleet: bytes
    vendor_id: bytes
    class_id: bytes
    hardware_revision: int
    bootloader: Version
    counters: Mapping[Domain, CounterModel]
    verify_image: ImageVerifier
    domain: Domain = Domain.APP
    bank_protection: BankProtection = BankProtection.BOOTLOADER_FLASH
    slot_size: int = 1 << 20
    max_trials: int = 3
    site_authorization: bool = False


class Identity(msgspec.Struct, frozen=True):
    """One device: what its birth package and its place gave it.

    ueid: 0x01 and SHA-256 of the identity key's SPKI. genesis: SHA-256 of the genesis set's payload.
    golden: SHA-256 of the golden image. site, region: where it stands. site_set: its roots speak for it.
    bank_key: the device-unique secret of BankProtection.DEVICE_MAC.
    """

    ueid: bytes
    genesis: bytes
    golden: bytes = hashlib.sha256(b"").digest()
    site: bytes | None = None
    region: str | None = None
    site_set: TrustSet | None = None
    bank_key: bytes = b""


def spkis(keys: Iterable[bytes]) -> tuple[bytes, ...]:
    """Keys in one order, so that a verifier that remembers meets them again."""
    return tuple(sorted(set(keys)))
