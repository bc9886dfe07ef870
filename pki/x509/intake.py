"""Taking in: a certification request read, checked and turned into the certificate that it will get, in one step.

All of it follows from its arguments, so it may be done in any process (`ceremonies.readers`).
"""

import hashlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TypeVar

import msgspec

from pki.errors import PkiError
from pki.names import DeviceSubject, ModuleSubject, read_serial_number
from pki.x509.certificates import Prepared, prepare_certificate
from pki.x509.crmf import parse_certificate_message
from pki.x509.issuers import Issuer
from pki.x509.profiles import Profile, find_profile
from pki.x509.requests import CertificateRequest, ParsedRequest, check_request, parse_request, prove_possession
from pki.x509.terms import Terms

CRMF = "crmf"


class Place(msgspec.Struct, frozen=True):
    """Where devices get certificates: the names that a work order gives them, and the CA that serves it.

    hw_type: dotted OID of the class, for a profile whose certificates have a hardwareModuleName in place of a name.
    site: the OU of a site's CA, for what that issues; life_s: seconds that such a certificate lives, if its CA does.
    """

    profile: str
    organization: str
    class_name: str
    issuer: Issuer
    hw_type: str = ""
    site: str = ""
    life_s: int = 0


class Intake(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One request: PKCS #10 in PEM or DER, the device's serial, and number and notBefore (UTC, seconds) to be used.

    number: from 2^64 to below 2^159, in lowercase hex. form: `crmf` for a CertReqMsg (RFC 4211, DER) in its place.
    """

    csr: bytes
    serial: str
    number: str
    not_before: int
    form: str = ""


class TakenIn(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A request that may have its certificate. der: the request. public_key: SubjectPublicKeyInfo, DER; spki: its name.

    prepared: what is to be signed; None when no place was given.
    """

    der: bytes
    csr_sha256: str
    public_key: bytes
    spki: str
    prepared: Prepared | None


Task = tuple[Intake, Place | None]
T = TypeVar("T")
Result = TypeVar("Result")


def take_in(intake: Intake, place: Place | None) -> TakenIn:
    """Read a request and prepare its certificate; without a place the request is only read.

    Raises what `parse_request` and `prove_possession` raise, then NameMalformed, then what `check_request` and
    `prepare_certificate` raise.
    """
    (taken,) = take_in_all([(intake, place)])
    if isinstance(taken, PkiError):
        raise taken
    return taken


def take_in_all(tasks: Sequence[Task]) -> list[TakenIn | PkiError]:
    """As `take_in`, for many, in their order; what is wrong with one is its own result.

    Each step is taken for all before the next: code and tables of a step are found in the processor's caches then.
    """
    parsed = [_attempt(_parse, intake) for intake, _ in tasks]
    proven = [_go_on(prove_possession, item) for item in parsed]
    return [_go_on(partial(_prepare, *task), item) for task, item in zip(tasks, proven, strict=True)]


def name_subject(place: Place, profile: Profile, serial: str) -> DeviceSubject | ModuleSubject:
    """Who a device's certificate speaks of. Raises NameMalformed."""
    number = read_serial_number(serial)
    if profile.naming == "module":
        return ModuleSubject(place.hw_type, number)
    return DeviceSubject(place.organization, place.class_name, number, None, place.site)


def _go_on(step: Callable[[T], Result], item: T | PkiError) -> Result | PkiError:
    return item if isinstance(item, PkiError) else _attempt(step, item)


def _attempt(step: Callable[[T], Result], item: T) -> Result | PkiError:
    try:
        return step(item)
    except PkiError as error:
        return error


def _parse(intake: Intake) -> ParsedRequest:
    return parse_certificate_message(intake.csr) if intake.form == CRMF else parse_request(intake.csr)


def _prepare(intake: Intake, place: Place | None, request: CertificateRequest) -> TakenIn:
    prepared = None
    if place is not None:
        profile = find_profile(place.profile)
        subject = name_subject(place, profile, intake.serial)
        check_request(request, profile)
        begin = datetime.fromtimestamp(intake.not_before, UTC)
        end = min(begin + timedelta(seconds=place.life_s), place.issuer.not_after) if place.life_s else None
        terms = Terms(int(intake.number, 16), begin, end)
        prepared = prepare_certificate(profile, subject, request.public_key, place.issuer, terms)
    digest = hashlib.sha256(request.der).hexdigest()
    return TakenIn(request.der, digest, request.public_key, request.spki, prepared)
