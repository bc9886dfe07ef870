"""The fleet in the signed policy: its id, its vendor, its device classes."""

import hashlib
import uuid
from collections.abc import Container
from functools import cached_property
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from ceremonies.errors import KeyroomError
from pki.elements.errors import PathRefused
from pki.elements.paths import read_pins
from pki.jcs import jcs

Word = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")]
# An object identifier in dotted form, or none (X.660: the second number is below 40 under the first number 1).
Oid = Annotated[
    str, Meta(pattern=r"^((1\.[1-3]?[0-9]|2\.(0|[1-9][0-9]{0,9}))(\.(0|[1-9][0-9]{0,9})){1,8})?\Z", max_length=100)
]
_IEEE2030_5 = "1.3.6.1.4.1.40732."
Protection = Literal["", "secure-element", "tpm"]
Pin = Annotated[str, Meta(min_length=1, max_length=8192)]


class ClassUnknown(KeyroomError):
    """The policy names no such device class."""

    code = "class-unknown"


class Revocation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where revocation lists are served (an http URL prefix without a slash at its end), and hours that one lives."""

    url: Annotated[str, Meta(pattern=r"^http://[a-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._~-]+)*\Z", max_length=128)]
    hours: Annotated[int, Meta(ge=1, le=24 * 400)] = 24

    def prefix(self, ca: str) -> str:
        """Where the lists of a CA (its key's label) are: what stands before `/3f.crl` in certificates and lists."""
        return f"{self.url}/crl/{ca}"


class Makers(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Whose word counts on where a key lives: certificates in PEM, believed because they stand here.

    manifest_signers: whose keys sign manifests of secure elements. element_roots: where the certificates of elements'
    keys lead to. tpm_roots: where endorsement certificates of TPMs lead to.
    """

    manifest_signers: Annotated[tuple[Pin, ...], Meta(max_length=16)] = ()
    element_roots: Annotated[tuple[Pin, ...], Meta(max_length=16)] = ()
    tpm_roots: Annotated[tuple[Pin, ...], Meta(max_length=64)] = ()

    def __post_init__(self) -> None:
        try:
            read_pins((*self.manifest_signers, *self.element_roots, *self.tpm_roots))
        except PathRefused as error:
            raise ValueError(f"makers: {error.message}") from error

    def vouch_for(self, protection: Protection) -> bool:
        """Whether anybody is pinned who can say that a key is protected so."""
        if protection == "secure-element":
            return bool(self.manifest_signers and self.element_roots)
        return bool(self.tpm_roots) or not protection


class DeviceClass(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A class of devices: its name, and the hardware profile by which its counters and slots behave.

    hw_type: the OID that its devices name as hwType of their hardwareModuleName (RFC 4108 section 5); under the fleet's
    arc. Without it the class gets no `ieee2030-5-device` certificates. key_protection: where the keys of its devices
    must be shown to live; empty for anywhere.
    """

    name: Word
    hardware: Word
    hw_type: Oid = ""
    key_protection: Protection = ""


class Fleet(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, dict=True):
    """One OEM product line. `id` is a UUID; `vendor` a DNS name; `arc` the manufacturer's own OID arc, below which the
    hardware types of its classes are: 1.3.6.1.4.1 and its IANA enterprise number. test_root: the identity root is one
    for tests, and certificates for IEEE 2030.5 say so.

    Vendor and class ids are name-based UUIDs, as the SUIT manifest recommends (draft-ietf-suit-manifest, section
    8.4.8.2): vendor = UUID5(DNS, vendor name), class = UUID5(vendor id, class name).
    revocation: with it, each CA's list is partitioned; without it, there is one complete list per CA.
    makers: needed by classes that demand a key protection.
    """

    id: Annotated[str, Meta(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z")]
    vendor: Annotated[str, Meta(pattern=r"^[a-z0-9.-]{3,128}\Z")]
    classes: Annotated[tuple[DeviceClass, ...], Meta(min_length=1, max_length=256)]
    arc: Oid = ""
    test_root: bool = False
    revocation: Revocation | None = None
    makers: Makers | None = None

    def __post_init__(self) -> None:
        if f"{self.arc}.".startswith(_IEEE2030_5):
            raise ValueError(f"{self.arc} is the arc of IEEE 2030.5, not the manufacturer's")
        for item in self.classes:
            if item.hw_type and not (self.arc and item.hw_type.startswith(f"{self.arc}.")):
                raise ValueError(f"hardware type {item.hw_type} of class {item.name} is not under the fleet's arc")
            if not (self.makers or Makers()).vouch_for(item.key_protection):
                raise ValueError(f"class {item.name} demands a {item.key_protection}, and no maker of one is pinned")

    @cached_property
    def fleet_id(self) -> bytes:
        """16 bytes."""
        return uuid.UUID(self.id).bytes

    @cached_property
    def vendor_id(self) -> bytes:
        """16 bytes."""
        return uuid.uuid5(uuid.NAMESPACE_DNS, self.vendor).bytes

    def class_id(self, name: str) -> bytes:
        """The 16 bytes of a class that the policy names. Raises ClassUnknown."""
        self.device_class(name)
        return uuid.uuid5(uuid.UUID(bytes=self.vendor_id), name).bytes

    @property
    def document(self) -> bytes:
        """It as canonical JSON (RFC 8785)."""
        return jcs(msgspec.to_builtins(self))

    def narrow(self, class_ids: Container[bytes]) -> "Fleet":
        """What certificates of these classes, and keys under them, are made by; what else the fleet has is left out."""
        classes = tuple(
            sorted((item for item in self.classes if self.class_id(item.name) in class_ids), key=lambda item: item.name)
        )
        revocation = Revocation(self.revocation.url) if self.revocation else None
        makers = self.makers if any(item.key_protection for item in classes) else None
        return msgspec.structs.replace(self, classes=classes, revocation=revocation, makers=makers)

    def digest(self, class_ids: Container[bytes]) -> str:
        """The lowercase hex SHA-256 of what `narrow` leaves."""
        return hashlib.sha256(self.narrow(class_ids).document).hexdigest()

    def has_class(self, name: str) -> bool:
        """Whether it names this class."""
        return any(item.name == name for item in self.classes)

    def device_class(self, name: str) -> DeviceClass:
        """The class of this name. Raises ClassUnknown."""
        for item in self.classes:
            if item.name == name:
                return item
        known = ", ".join(item.name for item in self.classes[:8])
        raise ClassUnknown(f"the policy names no device class {name[:64]!r}", hint=f"it names {known}")
