"""A request taken in gets the certificate that its parts, one after another, would give it."""

from datetime import timedelta

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from pki.errors import PkiError
from pki.names import DeviceSubject, ModuleSubject, NameMalformed, SerialNumber
from pki.x509.certificates import draft_certificate, draft_prepared
from pki.x509.errors import (
    CertificateNumberRefused,
    IssuerRefused,
    KeyRefused,
    KnownTestKey,
    LintFailed,
    ProfileForbids,
    ProofOfPossessionFailed,
    RequestMalformed,
    RequestTooLarge,
)
from pki.x509.intake import CRMF, Intake, Place, TakenIn, take_in, take_in_all
from pki.x509.profiles import IDEVID, IEEE2030_5_DEVICE, LDEVID
from pki.x509.terms import Terms
from tests.pki.cmp.writing import name_serial, write_certificate_message, write_template
from tests.pki.x509.soft_keys import BEGIN, NUMBER, make_hierarchy, make_key
from tests.pki.x509.soft_profiles import HW_TYPE
from tests.pki.x509.test_requests import make_request, to_pem

KEY = make_key()
HIERARCHY = make_hierarchy()
PLACE = Place(IDEVID.name, "Acme Storage", "bms-stm32h7", HIERARCHY.device_ca)
CSR = make_request(key=KEY.private)
INTAKE = Intake(CSR, "SN-0001", f"{NUMBER:x}", int(BEGIN.timestamp()))

UNSIGNED = CSR[:-1] + bytes([CSR[-1] ^ 1])
GREEDY = make_request(x509.BasicConstraints(ca=True, path_length=None), key=KEY.private)
ON_P384 = make_request(key=ec.generate_private_key(ec.SECP384R1()))
PUBLISHED = make_request(key=ec.derive_private_key(1, ec.SECP256R1()))
BAD_SERIAL = "sn 1"
BEFORE_THE_CA = INTAKE.not_before - 1


@pytest.mark.req("CA-1")
@pytest.mark.parametrize("serial", ["SN-0001", "A", "9" * 64])
def test_the_certificate_is_the_one_that_is_drafted(serial: str) -> None:
    subject = DeviceSubject("Acme Storage", "bms-stm32h7", SerialNumber(serial))
    draft = draft_certificate(IDEVID, subject, KEY.public_key, HIERARCHY.device_ca, Terms(NUMBER, BEGIN))
    taken = take_in(msgspec.structs.replace(INTAKE, serial=serial), PLACE)
    assert taken.prepared is not None
    assert taken.prepared.tbs == draft.payload
    assert (taken.der, taken.public_key, taken.spki) == (CSR, KEY.public_key, KEY.spki)
    again = draft_prepared(IDEVID, HIERARCHY.device_ca.public_key, taken.prepared)
    for name in ("kind", "summary", "payload", "to_sign", "public_keys", "what"):
        assert getattr(again, name) == getattr(draft, name)
    signatures = {item.spki: HIERARCHY.device_key.sign(item.data) for item in draft.to_sign}
    assert again.finish(signatures) == draft.finish(signatures)


def test_pem_and_der_are_taken_in_alike() -> None:
    assert take_in(msgspec.structs.replace(INTAKE, csr=to_pem(CSR)), PLACE) == take_in(INTAKE, PLACE)


def test_many_are_taken_in_as_each_alone_whatever_is_wrong_with_their_neighbours() -> None:
    intakes = [INTAKE, *(msgspec.structs.replace(INTAKE, csr=csr) for csr in (CSR[:-1], UNSIGNED, GREEDY, to_pem(CSR)))]
    taken = take_in_all([*((intake, PLACE) for intake in intakes), (INTAKE, None)])
    assert [type(item) for item in taken] == [
        TakenIn, RequestMalformed, ProofOfPossessionFailed, ProfileForbids, TakenIn, TakenIn,
    ]  # fmt: skip
    assert taken[0] == taken[4] == take_in(INTAKE, PLACE)
    assert taken[5] == take_in(INTAKE, None)


@pytest.mark.parametrize(
    ("csr", "serial", "not_before", "refusal"),
    [
        (bytes(16385), BAD_SERIAL, BEFORE_THE_CA, RequestTooLarge),
        (CSR[:-1], BAD_SERIAL, BEFORE_THE_CA, RequestMalformed),
        (UNSIGNED, BAD_SERIAL, BEFORE_THE_CA, ProofOfPossessionFailed),
        (GREEDY, BAD_SERIAL, BEFORE_THE_CA, NameMalformed),
        (PUBLISHED, BAD_SERIAL, BEFORE_THE_CA, NameMalformed),
        (ON_P384, "SN-1", BEFORE_THE_CA, KeyRefused),
        (PUBLISHED, "SN-1", BEFORE_THE_CA, KnownTestKey),
        (GREEDY, "SN-1", BEFORE_THE_CA, ProfileForbids),
        (CSR, "SN-1", BEFORE_THE_CA, LintFailed),
    ],
)
def test_refusals_come_in_their_order(csr: bytes, serial: str, not_before: int, refusal: type[PkiError]) -> None:
    """What is malformed is said before what a rule refuses."""
    with pytest.raises(refusal):
        take_in(Intake(csr, serial, INTAKE.number, not_before), PLACE)


def test_a_place_whose_ca_may_not_issue_gets_nothing() -> None:
    with pytest.raises(IssuerRefused):
        take_in(INTAKE, msgspec.structs.replace(PLACE, issuer=HIERARCHY.root))
    with pytest.raises(CertificateNumberRefused):
        take_in(msgspec.structs.replace(INTAKE, number="1"), PLACE)


@pytest.mark.parametrize("csr", [CSR, GREEDY, ON_P384, PUBLISHED])
def test_without_a_place_a_request_is_only_read(csr: bytes) -> None:
    taken = take_in(Intake(csr, BAD_SERIAL, "1", BEFORE_THE_CA), None)
    assert (taken.der, taken.prepared) == (csr, None)
    placed = take_in(INTAKE, PLACE)
    if csr == CSR:
        assert taken == msgspec.structs.replace(placed, prepared=None)


@pytest.mark.parametrize(
    ("csr", "refusal"),
    [(bytes(16385), RequestTooLarge), (CSR[:-1], RequestMalformed), (UNSIGNED, ProofOfPossessionFailed)],
)
def test_without_a_place_a_bad_request_is_refused(csr: bytes, refusal: type[PkiError]) -> None:
    with pytest.raises(refusal):
        take_in(msgspec.structs.replace(INTAKE, csr=csr), None)


@pytest.mark.req("CA-1", "CA-5")
def test_a_device_of_ieee_2030_5_is_taken_in_by_the_type_of_its_class() -> None:
    place = Place("ieee2030-5-device", "Acme Storage", "bms-stm32h7", HIERARCHY.device_ca, HW_TYPE)
    taken = take_in(INTAKE, place)
    assert taken.prepared is not None
    subject = ModuleSubject(HW_TYPE, SerialNumber("SN-0001"))
    draft = draft_certificate(IEEE2030_5_DEVICE, subject, KEY.public_key, HIERARCHY.device_ca, Terms(NUMBER, BEGIN))
    assert taken.prepared.tbs == draft.payload
    with pytest.raises(NameMalformed, match="OID"):
        take_in(INTAKE, msgspec.structs.replace(place, hw_type=""))


@pytest.mark.req("CA-11")
def test_a_request_in_crmf_gets_the_same_certificate() -> None:
    message = write_certificate_message(write_template(name_serial("SN-0001"), KEY.private), KEY.private)
    intake = msgspec.structs.replace(INTAKE, csr=message, form=CRMF)
    taken = take_in(intake, PLACE)
    assert (taken.der, taken.spki, taken.prepared) == (message, KEY.spki, take_in(INTAKE, PLACE).prepared)
    for csr, form in ((message, ""), (CSR, CRMF)):
        with pytest.raises((RequestMalformed, ProofOfPossessionFailed)):
            take_in(msgspec.structs.replace(INTAKE, csr=csr, form=form), PLACE)
    with pytest.raises(ProofOfPossessionFailed):
        take_in(msgspec.structs.replace(intake, csr=message[:-1] + bytes((message[-1] ^ 1,))), PLACE)


@pytest.mark.req("CA-8")
@pytest.mark.parametrize("life", [timedelta(days=365), timedelta(days=1000)])
def test_a_sites_certificate_names_the_site_and_does_not_outlive_its_ca(life: timedelta) -> None:
    end = BEGIN + timedelta(days=730)
    issuer = msgspec.structs.replace(HIERARCHY.site_ca, not_after=end)
    life_s = int(life.total_seconds())
    place = Place(LDEVID.name, "Acme Storage", "bms-stm32h7", issuer, site="site-a", life_s=life_s)
    taken = take_in(INTAKE, place)
    assert taken.prepared is not None
    assert taken.prepared.what["not_after"] == f"{min(BEGIN + life, end):%Y-%m-%dT%H:%M:%SZ}"
    assert taken.prepared.what["subject"] == "O=Acme Storage, OU=site-a, CN=bms-stm32h7, serialNumber=SN-0001"
