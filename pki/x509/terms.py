"""Number and validity of a certificate."""

from datetime import UTC, datetime, timedelta

import msgspec

from pki.x509.errors import CertificateNumberRefused, ValidityRefused

NEVER = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


class Terms(msgspec.Struct, frozen=True):
    """Number and validity of one certificate.

    serial_number: from 2^64 to below 2^159, from a random source. Times are UTC in whole seconds.
    not_after: None for 99991231235959Z, which the profile must demand.
    Raises CertificateNumberRefused, ValidityRefused.
    """

    serial_number: int
    not_before: datetime
    not_after: datetime | None = None

    def __post_init__(self) -> None:
        if not 1 << 64 <= self.serial_number < 1 << 159:
            raise CertificateNumberRefused(
                f"serial number of {self.serial_number.bit_length()} bits", hint="give 159 random bits"
            )
        for time in (self.not_before, self.end):
            if time.utcoffset() != timedelta(0) or time.microsecond:
                raise ValidityRefused(f"{time.isoformat()} is not in UTC and whole seconds")
        if not self.not_before < self.end:
            raise ValidityRefused(f"a validity from {self.not_before.isoformat()} to {self.end.isoformat()}")

    @property
    def end(self) -> datetime:
        """The time that notAfter will say."""
        return self.not_after or NEVER


def partition_of(serial_number: int) -> str:
    """The partition of the CRL to which a certificate belongs: the top 6 of its number's 159 bits, `00` to `3f`."""
    return f"{serial_number >> 153:02x}"
