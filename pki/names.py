"""Names that travel through Kedge: device serial numbers, sites, X.501 names.

Every identifier is checked once, where it enters, and carries its own type from there on.
"""

import hashlib
import re
import unicodedata
from functools import lru_cache
from typing import NewType

import msgspec
from cryptography import x509
from cryptography.x509.oid import NameOID

from pki.errors import PkiError

SerialNumber = NewType("SerialNumber", str)
SiteName = NewType("SiteName", str)

_SERIAL = re.compile(r"[A-Z0-9](?:[A-Z0-9.-]{0,62}[A-Z0-9])?")
_WORDS = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")


class NameMalformed(PkiError):
    """A name has characters or a length that names of its kind do not have."""

    code = "name-malformed"


def read_serial_number(text: str) -> SerialNumber:
    """Check a device's serial number: 1 to 64 of A-Z, 0-9, dot and hyphen; a letter or digit at both ends.

    Upper case only: X.520 compares `serialNumber` without case, so two serials that differ in case would be one
    device to a verifier. All of it fits a PrintableString (RFC 5280 appendix A, ub-serial-number 64).
    Raises NameMalformed.
    """
    return SerialNumber(_match(_SERIAL, text, "serial number", "use 1 to 64 of A-Z, 0-9, '.' and '-'"))


def read_site_name(text: str) -> SiteName:
    """Check the name of a site or plant, such as `plant-7`: lower case words and hyphens, at most 64.

    Raises NameMalformed.
    """
    return SiteName(_match(_WORDS, text, "site name", "use lower case words joined by hyphens"))


@lru_cache(maxsize=256)
def read_oid(text: str) -> str:
    """Check an object identifier in dotted form, at most 128 characters. Raises NameMalformed."""
    try:
        if len(text) <= 128 and x509.ObjectIdentifier(text).dotted_string == text:
            return text
    except ValueError:
        pass
    raise NameMalformed(f"{text[:64]!r} is no OID", hint="write it as numbers with dots: 1.3.6.1.4.1.<your number>.1")


def ueid_of(spki: bytes) -> bytes:
    """The 33 bytes of a device's UEID (RFC 9711 section 4.2.1, type RAND): 0x01 || SHA-256 of its DER SPKI."""
    return b"\x01" + hashlib.sha256(spki).digest()


class HardwareModule(msgspec.Struct, frozen=True):
    """A hardwareModuleName (RFC 4108 section 5): the dotted OID of the module's type, and its serial, 1 to 64 bytes.

    Raises NameMalformed.
    """

    type_oid: str
    serial: bytes

    def __post_init__(self) -> None:
        read_oid(self.type_oid)
        if not 1 <= len(self.serial) <= 64:
            raise NameMalformed(f"hardware module serial has {len(self.serial)} bytes", hint="use 1 to 64 bytes")


class DeviceSubject(msgspec.Struct, frozen=True):
    """Who a device certificate speaks of: O, CN and serialNumber (IEEE 802.1AR-2018 clause 8).

    `site` (OU) is set for an operational certificate and only there. Raises NameMalformed.
    """

    organization: str
    common_name: str
    serial_number: SerialNumber
    hardware: HardwareModule | None = None
    site: str = ""

    def __post_init__(self) -> None:
        _check_text("organization", self.organization)
        _check_text("common name", self.common_name)
        read_serial_number(self.serial_number)
        if self.site:
            read_site_name(self.site)

    def x501_name(self) -> x509.Name:
        """O, OU when there is a site, CN, serialNumber; the last one a PrintableString (RFC 5280 appendix A.1)."""
        return _name(
            (NameOID.ORGANIZATION_NAME, self.organization),
            (NameOID.ORGANIZATIONAL_UNIT_NAME, self.site),
            (NameOID.COMMON_NAME, self.common_name),
            (NameOID.SERIAL_NUMBER, self.serial_number),
        )

    def __str__(self) -> str:
        unit = f", OU={self.site}" if self.site else ""
        return f"O={self.organization}{unit}, CN={self.common_name}, serialNumber={self.serial_number}"


class ModuleSubject(msgspec.Struct, frozen=True):
    """Who the certificate of an IEEE 2030.5 device speaks of: no name, but a hardwareModuleName (RFC 4108 section 5).

    hw_type: dotted OID under the manufacturer's arc. The serial's ASCII is hwSerialNum. Raises NameMalformed.
    """

    hw_type: str
    serial_number: SerialNumber

    def __post_init__(self) -> None:
        read_oid(self.hw_type)
        read_serial_number(self.serial_number)

    @property
    def hardware(self) -> HardwareModule:
        """What the subjectAltName says."""
        return HardwareModule(self.hw_type, self.serial_number.encode("ascii"))

    def x501_name(self) -> x509.Name:
        """The empty name (RFC 5280 section 4.1.2.6)."""
        return x509.Name(())

    def __str__(self) -> str:
        return f"hardwareModuleName {self.hw_type} {self.serial_number}"


class ServiceSubject(msgspec.Struct, frozen=True):
    """Who the certificate of a service speaks of. Raises NameMalformed.

    unit (OU): the plant of a station; the site of a responder for a site CA, else empty.
    """

    organization: str
    common_name: str
    unit: str = ""

    def __post_init__(self) -> None:
        _check_text("organization", self.organization)
        _check_text("common name", self.common_name)
        if self.unit:
            _check_text("organizational unit", self.unit)

    def x501_name(self) -> x509.Name:
        """O, OU when there is a unit, CN."""
        return _name(
            (NameOID.ORGANIZATION_NAME, self.organization),
            (NameOID.ORGANIZATIONAL_UNIT_NAME, self.unit),
            (NameOID.COMMON_NAME, self.common_name),
        )

    def __str__(self) -> str:
        unit = f", OU={self.unit}" if self.unit else ""
        return f"O={self.organization}{unit}, CN={self.common_name}"


class AuthoritySubject(msgspec.Struct, frozen=True):
    """Who a CA certificate speaks of. `site` is set for a site CA and only there. Raises NameMalformed.

    The generation is part of the CN (`Plant 7 Device CA G2`), so that no two generations of a CA share a name:
    verifiers that choose an issuer by name would otherwise try the wrong key.
    """

    organization: str
    name: str
    generation: int
    site: str = ""

    def __post_init__(self) -> None:
        if not 1 <= self.generation <= 9999:
            raise NameMalformed(f"generation {self.generation} of a CA", hint="count from 1")
        _check_text("organization", self.organization)
        _check_text("common name", self.common_name)
        if self.site:
            read_site_name(self.site)

    @property
    def common_name(self) -> str:
        """Name and generation."""
        return f"{self.name} G{self.generation}"

    def x501_name(self) -> x509.Name:
        """O, OU when there is a site, CN."""
        return x509.Name((*self.x501_base(), *_name((NameOID.COMMON_NAME, self.common_name))))

    def x501_base(self) -> x509.Name:
        """O and OU: what every subject below a site CA begins with (RFC 5280 section 4.2.1.10)."""
        return _name((NameOID.ORGANIZATION_NAME, self.organization), (NameOID.ORGANIZATIONAL_UNIT_NAME, self.site))

    def __str__(self) -> str:
        unit = f", OU={self.site}" if self.site else ""
        return f"O={self.organization}{unit}, CN={self.common_name}"


def _name(*attributes: tuple[x509.ObjectIdentifier, str]) -> x509.Name:
    """A name of these attributes without the empty ones, each an RDN of its own."""
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in attributes if value])


def _match(pattern: re.Pattern[str], text: str, kind: str, hint: str) -> str:
    if len(text) > 64 or pattern.fullmatch(text) is None:
        raise NameMalformed(f"{text[:64]!r} is no {kind}", hint=hint)
    return text


def _check_text(kind: str, text: str) -> None:
    """1 to 64 printable characters (RFC 5280 ub-common-name, ub-organization-name), equal to nothing but themselves.

    Verifiers fold runs of spaces and normal forms (RFC 4518), so text that folding would change is refused.
    """
    single_spaced = "  " not in text and text == text.strip()
    if not (1 <= len(text) <= 64 and text.isprintable() and single_spaced and unicodedata.is_normalized("NFKC", text)):
        raise NameMalformed(
            f"{text[:64]!r} is no {kind}",
            hint="use 1 to 64 printable characters in NFKC with single spaces between them",
        )
