"""How IEEE 2030.5 names a device by its certificate (IEEE 2030.5-2018 clause 6.3): LFDI and SFDI."""

import hashlib

from pki.x509.pem import is_pem, read_pem


def lfdi_of(certificate: bytes) -> str:
    """The long-form device identifier of a certificate, PEM or DER: 40 lowercase hex digits.

    It is the left 160 bits of SHA-256 over the whole certificate in DER. Raises PemMalformed.
    """
    der = read_pem(certificate, "CERTIFICATE") if is_pem(certificate) else certificate
    return hashlib.sha256(der).hexdigest()[:40]


def sfdi_of(lfdi: str) -> str:
    """The short-form device identifier that goes with an LFDI: 12 decimal digits, whose sum is a multiple of 10.

    They are the left 36 bits as 11 digits, with zeros in front, and a check digit.
    """
    digits = f"{int(lfdi[:9], 16):011d}"
    return f"{digits}{-sum(map(int, digits)) % 10}"
