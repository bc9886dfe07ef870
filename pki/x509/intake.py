"""Taking in: a certification request read, checked and turned into the certificate that it will get, in one step.

All of it follows from its arguments, so it may be done in any process (`ceremonies.readers`).
"""

import hashlib
from datetime import UTC, datetime

import msgspec

from pki.names import DeviceSubject, read_serial_number
from pki.x509.certificates import Prepared, prepare_certificate
from pki.x509.issuers import Issuer
from pki.x509.profiles import find_profile
from pki.x509.requests import check_request, read_request
from pki.x509.terms import Terms


class Place(msgspec.Struct, frozen=True):
    """Where devices get certificates: the names that a work order gives them, and the CA that serves it."""

    profile: str
    organization: str
    class_name: str
    issuer: Issuer


class Intake(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One request: PKCS #10 in PEM or DER, the device's serial, and number and notBefore (UTC, seconds) to be used.

    number: from 2^64 to below 2^159, in lowercase hex.
    """

    csr: bytes
    serial: str
    number: str
    not_before: int


class TakenIn(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A request that may have its certificate. der: the request. public_key: SubjectPublicKeyInfo, DER; spki: its name.

    prepared: what is to be signed; None when no place was given.
    """

    der: bytes
    csr_sha256: str
    public_key: bytes
    spki: str
    prepared: Prepared | None


def take_in(intake: Intake, place: Place | None) -> TakenIn:
    """Read a request and prepare its certificate; without a place the request is only read.

    Raises what `read_request` raises, then NameMalformed, then what `check_request` and `prepare_certificate` raise.
    """
    request = read_request(intake.csr)
    prepared = None
    if place is not None:
        subject = DeviceSubject(place.organization, place.class_name, read_serial_number(intake.serial))
        profile = find_profile(place.profile)
        check_request(request, profile)
        terms = Terms(int(intake.number, 16), datetime.fromtimestamp(intake.not_before, UTC))
        prepared = prepare_certificate(profile, subject, request.public_key, place.issuer, terms)
    digest = hashlib.sha256(request.der).hexdigest()
    return TakenIn(request.der, digest, request.public_key, request.spki, prepared)
