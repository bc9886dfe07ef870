"""One right certificate of each profile for end entities, below the soft hierarchy."""

import functools
from datetime import timedelta

import msgspec

from pki.names import AuthoritySubject, DeviceSubject, ModuleSubject, SerialNumber, ServiceSubject
from pki.x509.builders import Subject
from pki.x509.certificates import draft_certificate
from pki.x509.issuers import Issuer, read_issuer
from pki.x509.profiles import PROFILES, SERVICE_CA, Profile
from pki.x509.terms import Terms
from tests.pki.x509.soft_keys import BEGIN, NUMBER, Hierarchy, SoftKey, make_hierarchy, make_key, make_terms

HW_TYPE = "1.3.6.1.4.1.32473.1"  # under the enterprise number for examples (RFC 5612)
CRL_URL = "http://crl.example/crl/ca-1"


class Example(msgspec.Struct, frozen=True):
    """What a certificate is made of, and the key that signs it."""

    profile: Profile
    subject: Subject
    issuer: Issuer
    signer: SoftKey
    terms: Terms

    def below(self, **options: object) -> "Example":
        """The same below an issuer with other options."""
        return msgspec.structs.replace(self, issuer=msgspec.structs.replace(self.issuer, **options))

    def issue(self, key: SoftKey) -> bytes:
        """The certificate in PEM."""
        draft = draft_certificate(self.profile, self.subject, key.public_key, self.issuer, self.terms)
        return self.signer.finish(draft)


@functools.cache
def make_service_ca(hierarchy: Hierarchy | None = None, key: SoftKey | None = None) -> tuple[Issuer, SoftKey]:
    """A service CA below the root of a hierarchy, and its key."""
    hierarchy, key = hierarchy or make_hierarchy(), key or make_key()
    subject = AuthoritySubject("Acme Storage", "Service CA", 1)
    draft = draft_certificate(SERVICE_CA, subject, key.public_key, hierarchy.root, make_terms(2040))
    return read_issuer(SERVICE_CA, hierarchy.root_key.finish(draft), hierarchy.root), key


def make_examples(hierarchy: Hierarchy | None = None, service_key: SoftKey | None = None) -> dict[str, Example]:
    """By profile; the responder three times, once for each CA."""
    hierarchy = hierarchy or make_hierarchy()
    service_ca, service_key = make_service_ca(hierarchy, service_key)
    serial = SerialNumber("SN-0001")
    device, site = (hierarchy.device_ca, hierarchy.device_key), (hierarchy.site_ca, hierarchy.site_key)
    service = (service_ca, service_key)
    rows: dict[str, tuple[Subject, tuple[Issuer, SoftKey], int | None]] = {
        "idevid": (DeviceSubject("Acme Storage", "bms-stm32h7", serial), device, None),
        "ieee2030-5-device": (ModuleSubject(HW_TYPE, serial), device, None),
        "ldevid": (DeviceSubject("Acme Storage", "bms-stm32h7", serial, None, "site-a"), site, 365),
        "station-tls": (ServiceSubject("Acme Storage", "eol-tester-3", "graz"), service, 30),
        "ocsp-responder": (ServiceSubject("Acme Storage", "Device CA G1 OCSP"), device, 92),
        "ocsp-responder of site-ca": (ServiceSubject("Acme Storage", "Site CA G1 OCSP", "site-a"), site, 92),
        "ocsp-responder of service-ca": (ServiceSubject("Acme Storage", "Service CA G1 OCSP"), service, 92),
        "cmp-responder": (ServiceSubject("Acme Storage", "Device CA G1 CMP"), device, 92),
    }
    return {
        name: Example(
            PROFILES[name.split()[0]],
            subject,
            *ca,
            Terms(NUMBER, BEGIN, BEGIN + timedelta(days=days) if days else None),
        )
        for name, (subject, ca, days) in rows.items()
    }
