"""Endorsement certificates: a maker says that a key lives in a TPM, and nothing of any other key.

TCG EK Credential Profile for TPM Family 2.0, sections 3.2 and 2.2.1.4: the key decrypts only (keyEncipherment for RSA,
keyAgreement for ECC), and its certificate has the purpose tcg-kp-EKCertificate. Taken are the profile's two usual
kinds, RSA 2048 and ECC P-256, whose keys have nameAlg SHA-256 and AES-128 in CFB mode (templates L-1 and L-2).
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pki.elements.errors import EndorsementRefused
from pki.elements.paths import find, read_one, verify_path
from pki.signatures import spki_sha256

EK_PURPOSE: Final = "2.23.133.8.1"
EndorsementKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey


class Endorsement(msgspec.Struct, frozen=True):
    """A TPM by its endorsement key. spki: SHA-256 of the key's SubjectPublicKeyInfo, hex: the TPM's name in Kedge."""

    key: EndorsementKey
    spki: str


def read_endorsement(
    data: bytes, others: Sequence[bytes], pins: Sequence[x509.Certificate], at: datetime
) -> Endorsement:
    """Read an endorsement certificate (PEM, or DER and nothing behind it); verify its path over `others` to a pin.

    Raises EndorsementRefused, PathRefused.
    """
    if not pins:
        raise EndorsementRefused("the policy pins no maker of TPMs", hint="`makers.tpm_roots` of the fleet names them")
    certificate = read_one(data)
    key = certificate.public_key()
    usage, purposes = find(certificate, x509.KeyUsage), find(certificate, x509.ExtendedKeyUsage)
    constraints = find(certificate, x509.BasicConstraints)
    if usage is None or purposes is None or EK_PURPOSE not in {item.dotted_string for item in purposes}:
        raise EndorsementRefused(f"no endorsement certificate: it lacks key usage or the purpose {EK_PURPOSE}")
    if constraints is not None and constraints.ca:
        raise EndorsementRefused("no endorsement certificate, but one of a CA")
    if isinstance(key, rsa.RSAPublicKey) and key.key_size == 2048 and key.public_numbers().e == 65537:
        fits = usage.key_encipherment
    elif isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name == "secp256r1":
        fits = usage.key_agreement
    else:
        raise EndorsementRefused("the endorsement key is neither RSA 2048 nor P-256", hint="use the TPM's other one")
    if not fits or usage.digital_signature or usage.key_cert_sign:
        raise EndorsementRefused("the endorsement key has not the usage of one: it decrypts, and signs nothing")
    verify_path(certificate, [read_one(item) for item in others], pins, at)
    return Endorsement(key, spki_sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)))
