"""Each profile for end entities: its certificate passes, and is found out when one thing in it is wrong."""

from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_der_public_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pki.errors import PkiError
from pki.names import ServiceSubject
from pki.x509.certificates import draft_certificate
from pki.x509.errors import IssuerRefused, LintFailed
from pki.x509.lint import lint_certificate
from tests.pki.x509.soft_keys import make_key
from tests.pki.x509.soft_profiles import CRL_URL, HW_TYPE, Example, make_examples

KEY = make_key()
EXAMPLES = make_examples()
OTHER_CURVE = make_key(ec.SECP384R1()).private.public_key()
Extensions = dict[str, tuple[x509.ExtensionType, bool]]


class Forgery(msgspec.Struct):
    """A right certificate, taken apart; `sign` puts it together again with whatever a test has changed."""

    example: Example
    number: int
    begin: datetime
    end: datetime
    issuer: x509.Name
    subject: list[x509.NameAttribute[str]]
    key: ec.EllipticCurvePublicKey
    extensions: Extensions

    def sign(self) -> bytes:
        builder = x509.CertificateBuilder(self.issuer, x509.Name(self.subject), self.key, self.number)
        builder = builder.not_valid_before(self.begin).not_valid_after(self.end)
        for value, critical in self.extensions.values():
            builder = builder.add_extension(value, critical)
        return builder.sign(self.example.signer.private, hashes.SHA256()).public_bytes(Encoding.DER)


def forge(example: Example) -> Forgery:
    found = x509.load_pem_x509_certificate(example.issue(KEY))
    public_key = load_der_public_key(KEY.public_key)
    assert isinstance(public_key, ec.EllipticCurvePublicKey)
    extensions = {item.oid.dotted_string: (item.value, item.critical) for item in found.extensions}
    subject: list[x509.NameAttribute[str]] = [
        x509.NameAttribute(item.oid, str(item.value), item._type) for item in found.subject
    ]
    return Forgery(
        example, found.serial_number, found.not_valid_before_utc.replace(tzinfo=None),
        found.not_valid_after_utc.replace(tzinfo=None), found.issuer, subject, public_key, extensions,
    )  # fmt: skip


Change = Callable[[Forgery], object]


def _set(oid: str, value: x509.ExtensionType, critical: bool = False) -> Change:
    return lambda forgery: forgery.extensions.update({oid: (value, critical)})


def _flip(oid: str) -> Change:
    return lambda forgery: forgery.extensions.update(
        {oid: (forgery.extensions[oid][0], not forgery.extensions[oid][1])}
    )


def _drop(oid: str) -> Change:
    return lambda forgery: forgery.extensions.pop(oid)


def _usage(**asked: bool) -> x509.KeyUsage:
    names = (
        "digital_signature content_commitment key_encipherment data_encipherment key_agreement key_cert_sign"
        " crl_sign encipher_only decipher_only"
    )
    return x509.KeyUsage(**{name: asked.get(name, False) for name in names.split()})


def _policies(*oids: str) -> x509.CertificatePolicies:
    return x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier(oid), None) for oid in oids])


def _module(value: str) -> x509.SubjectAlternativeName:
    name = x509.OtherName(x509.ObjectIdentifier("1.3.6.1.5.5.7.8.4"), bytes.fromhex(value))
    return x509.SubjectAlternativeName([name])


def _point(*uris: str) -> x509.CRLDistributionPoints:
    names = [x509.UniformResourceIdentifier(uri) for uri in uris]
    return x509.CRLDistributionPoints([x509.DistributionPoint(names, None, None, None)])


def _rename(oid: x509.ObjectIdentifier, value: str) -> Change:
    def change(forgery: Forgery) -> None:
        forgery.subject = [x509.NameAttribute(a.oid, value) if a.oid == oid else a for a in forgery.subject]

    return change


def _add(oid: x509.ObjectIdentifier, value: str) -> Change:
    return lambda forgery: forgery.subject.append(x509.NameAttribute(oid, value))


def _last(days: int) -> Change:
    return lambda forgery: setattr(forgery, "end", forgery.begin + timedelta(days=days, seconds=1))


BASIC, USAGE, AKI, SKI = "2.5.29.19", "2.5.29.15", "2.5.29.35", "2.5.29.14"
SAN, POLICIES, EKU, POINTS, NO_CHECK = "2.5.29.17", "2.5.29.32", "2.5.29.37", "2.5.29.31", "1.3.6.1.5.5.7.48.1.5"
ORG, OU, CN, SERIAL = (
    NameOID.ORGANIZATION_NAME,
    NameOID.ORGANIZATIONAL_UNIT_NAME,
    NameOID.COMMON_NAME,
    NameOID.SERIAL_NUMBER,
)
GENERIC, TEST = "1.3.6.1.4.1.40732.1.1", "1.3.6.1.4.1.40732.2.1"
CLIENT, SERVER, OCSP = (
    ExtendedKeyUsageOID.CLIENT_AUTH,
    ExtendedKeyUsageOID.SERVER_AUTH,
    ExtendedKeyUsageOID.OCSP_SIGNING,
)
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), b"")

# What every profile refuses.
EVERYWHERE: dict[str, tuple[Change, str]] = {
    "a CA": (_set(BASIC, x509.BasicConstraints(True, 0), True), BASIC),
    "basicConstraints not critical": (_flip(BASIC), BASIC),
    "no basicConstraints": (_drop(BASIC), f"missing extension {BASIC}"),
    "keyUsage not critical": (_flip(USAGE), USAGE),
    "keyCertSign": (_set(USAGE, _usage(digital_signature=True, key_cert_sign=True), True), USAGE),
    "no keyUsage": (_drop(USAGE), f"missing extension {USAGE}"),
    "another AKI": (_set(AKI, x509.AuthorityKeyIdentifier(b"x" * 20, None, None)), AKI),
    "no AKI": (_drop(AKI), f"missing extension {AKI}"),
    "another SKI": (_set(SKI, x509.SubjectKeyIdentifier(b"x" * 20)), SKI),
    "a host": (_set(SAN, x509.SubjectAlternativeName([x509.DNSName("a.example")]), True), "subjectAltName|surplus"),
    "code signing": (_set(EKU, x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING])), EKU),
    "an unknown extension": (_set("1.2.3", UNKNOWN), "surplus extension 2a03"),
    "a CRL that nobody serves": (_set(POINTS, _point("http://a.example/00.crl")), f"surplus extension {POINTS}"),
    "a curve": (lambda forgery: setattr(forgery, "key", OTHER_CURVE), "curve"),
    "a short number": (lambda forgery: setattr(forgery, "number", (1 << 64) - 1), "serial number"),
    "begins before its issuer": (
        lambda forgery: setattr(forgery, "begin", forgery.begin - timedelta(seconds=1)),
        "begins before",
    ),
    "a surplus name": (_add(NameOID.COUNTRY_NAME, "AT"), "in order"),
}
OWN: dict[str, dict[str, tuple[Change, str]]] = {
    "ieee2030-5-device": {
        "a name": (_add(CN, "bms"), "in order"),
        "an end": (_last(3650), "notAfter"),
        "no keyAgreement": (_set(USAGE, _usage(digital_signature=True), True), USAGE),
        "no digitalSignature": (_set(USAGE, _usage(key_agreement=True), True), USAGE),
        "no SAN": (_drop(SAN), f"missing extension {SAN}"),
        "SAN not critical": (_flip(SAN), "not critical"),
        "hwSerialNum is no serial": (_set(SAN, _module("300806022a030402" + b"sn".hex()), True), "hwSerialNum"),
        "hwSerialNum is empty": (_set(SAN, _module("300606022a030400"), True), "1 to 64 octets"),
        "hwType is no OID": (_set(SAN, _module("30070c022a03" + "0401" + b"S".hex()), True), "not an OID"),
        "two names": (
            lambda forgery: forgery.extensions.update(
                {SAN: (x509.SubjectAlternativeName([*_module("300706022a03040141"), x509.DNSName("a.example")]), True)}
            ),
            "not one hardwareModuleName",
        ),
        "no policies": (_drop(POLICIES), f"missing extension {POLICIES}"),
        "policies not critical": (_flip(POLICIES), POLICIES),
        "mobile": (_set(POLICIES, _policies("1.3.6.1.4.1.40732.1.2"), True), POLICIES),
        "test policy below a root that is none for tests": (_set(POLICIES, _policies(GENERIC, TEST), True), POLICIES),
        "self-signed policy": (_set(POLICIES, _policies(GENERIC, "1.3.6.1.4.1.40732.2.2"), True), POLICIES),
        "a key purpose": (_set(EKU, x509.ExtendedKeyUsage([CLIENT])), f"surplus extension {EKU}"),
    },
    "ldevid": {
        "another organization": (_rename(ORG, "Other Storage"), "begin with the issuer's names"),
        "another site": (_rename(OU, "site-b"), "begin with the issuer's names"),
        "no site": (lambda forgery: forgery.subject.pop(1), "begin with the issuer's names"),
        "no serial": (lambda forgery: forgery.subject.pop(), "in order"),
        "lower case serial": (_rename(SERIAL, "sn"), "device serial"),
        "no end": (lambda forgery: setattr(forgery, "end", datetime(9999, 12, 31, 23, 59, 59)), "more than 1098 days"),  # noqa: DTZ001
        "too long": (_last(1098), "more than 1098 days"),
        "keyAgreement": (_set(USAGE, _usage(digital_signature=True, key_agreement=True), True), USAGE),
        "no purpose": (_drop(EKU), f"missing extension {EKU}"),
        "critical purpose": (_flip(EKU), EKU),
        "one purpose": (_set(EKU, x509.ExtendedKeyUsage([CLIENT])), EKU),
        "a module name": (_set(SAN, _module("300706022a03040141"), True), f"surplus extension {SAN}"),
        "policies": (_set(POLICIES, _policies(GENERIC), True), f"surplus extension {POLICIES}"),
    },
    "station-tls": {
        "another organization": (_rename(ORG, "Other Storage"), "begin with the issuer's names"),
        "no plant": (lambda forgery: forgery.subject.pop(1), "in order"),
        "an empty name": (lambda forgery: forgery.subject.pop(), "in order"),
        "31 days": (_last(30), "more than 30 days"),
        "a server": (_set(EKU, x509.ExtendedKeyUsage([CLIENT, SERVER])), EKU),
        "no purpose": (_drop(EKU), f"missing extension {EKU}"),
        "a serial number": (_add(SERIAL, "SN-1"), "in order"),
    },
    "ocsp-responder": {
        "another organization": (_rename(ORG, "Other Storage"), "begin with the issuer's names"),
        "93 days": (_last(92), "more than 92 days"),
        "no nocheck": (_drop(NO_CHECK), "missing extension 2b0601050507300105"),
        "nocheck critical": (_flip(NO_CHECK), "extension 2b0601050507300105"),
        "also a client": (_set(EKU, x509.ExtendedKeyUsage([OCSP, CLIENT])), EKU),
        "no purpose": (_drop(EKU), f"missing extension {EKU}"),
        "a plant": (_add(OU, "graz"), "in order"),
    },
}
OWN["cmp-responder"] = {
    "another organization": (_rename(ORG, "Other Storage"), "begin with the issuer's names"),
    "93 days": (_last(92), "more than 92 days"),
    "also a client": (_set(EKU, x509.ExtendedKeyUsage([x509.ObjectIdentifier("1.3.6.1.5.5.7.3.28"), CLIENT])), EKU),
    "no purpose": (_drop(EKU), f"missing extension {EKU}"),
}
OWN["ocsp-responder of site-ca"] = {"another site": (_rename(OU, "site-b"), "begin with the issuer's names")}
OWN["ocsp-responder of service-ca"] = OWN["ocsp-responder"]
CASES = [(name, bug) for name in EXAMPLES for bug in [*EVERYWHERE, *OWN.get(name, ())]]


@pytest.mark.req("CA-4", "CA-5", "CA-8", "CA-12")
@pytest.mark.parametrize(("name", "bug"), CASES)
def test_a_bug_is_found(name: str, bug: str) -> None:
    change, finding = (EVERYWHERE | OWN.get(name, {}))[bug]
    forgery = forge(EXAMPLES[name])
    change(forgery)
    with pytest.raises(LintFailed, match=finding):
        lint_certificate(forgery.example.profile.name, forgery.sign(), forgery.example.issuer)


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_forgery_is_right_until_it_is_changed(name: str) -> None:
    example = EXAMPLES[name]
    assert lint_certificate(example.profile.name, forge(example).sign(), example.issuer).public_key == KEY.public_key


@pytest.mark.req("CA-9")
@pytest.mark.parametrize("name", EXAMPLES)
def test_a_certificate_names_the_one_crl_of_its_number(name: str) -> None:
    example = EXAMPLES[name].below(crl_url=CRL_URL)
    forgery = forge(example)
    points, critical = forgery.extensions[POINTS]
    assert (points, critical) == (_point(f"{CRL_URL}/20.crl"), False)
    lint_certificate(example.profile.name, forgery.sign(), example.issuer)
    wrong: tuple[Change, ...] = (
        _drop(POINTS),
        _flip(POINTS),
        _set(POINTS, _point(f"{CRL_URL}/21.crl")),
        _set(POINTS, _point(f"{CRL_URL}/20.crl", "http://b.example/20.crl")),
        _set(POINTS, _point("http://crl.example/crl/ca-2/20.crl")),
        lambda forgery: setattr(forgery, "number", forgery.number + (1 << 153)),
    )
    for change in wrong:
        forgery = forge(example)
        change(forgery)
        with pytest.raises(LintFailed, match=POINTS):
            lint_certificate(example.profile.name, forgery.sign(), example.issuer)


@pytest.mark.req("CA-5")
def test_the_test_policy_is_there_if_and_only_if_the_root_is_one_for_tests() -> None:
    plain = EXAMPLES["ieee2030-5-device"]
    below_test = plain.below(test_root=True)
    assert forge(plain).extensions[POLICIES] == (_policies(GENERIC), True)
    assert forge(below_test).extensions[POLICIES] == (_policies(GENERIC, TEST), True)
    for made, read in ((plain, below_test), (below_test, plain)):
        with pytest.raises(LintFailed, match=POLICIES):
            lint_certificate("ieee2030-5-device", forge(made).sign(), read.issuer)


@pytest.mark.parametrize(
    "url",
    [
        "https://a.example/crl/ca",
        "http://a.example/",
        "http://a b",
        "http://ä",
        "ftp://a",
        "http://",
        "http://a\n",
        "a" * 300,
    ],
)
def test_a_crl_is_served_over_http(url: str) -> None:
    with pytest.raises(IssuerRefused, match="no URL"):
        EXAMPLES["idevid"].below(crl_url=url)


PROFILE_BUGS: list[tuple[str, dict[str, object]]] = [
    ("ieee2030-5-device", {"key_usage": frozenset(("digital_signature",))}),
    ("ieee2030-5-device", {"policies": ()}),
    ("ieee2030-5-device", {"policies": ("1.3.6.1.4.1.40732.1.3",)}),
    ("ieee2030-5-device", {"extended_key_usage": ("1.3.6.1.5.5.7.3.2",)}),
    ("ldevid", {"extended_key_usage": ()}),
    ("ldevid", {"policies": ("1.3.6.1.4.1.40732.1.1",)}),
    ("station-tls", {"extended_key_usage": ("1.3.6.1.5.5.7.3.1",)}),
    ("station-tls", {"no_check": True}),
    ("ocsp-responder", {"no_check": False}),
    ("cmp-responder", {"extended_key_usage": ()}),
    ("ocsp-responder", {"extended_key_usage": ("1.3.6.1.5.5.7.3.2",)}),
]


@pytest.mark.req("CA-12")
@pytest.mark.parametrize(("name", "change"), PROFILE_BUGS)
def test_a_profile_bug_is_refused_before_a_key_is_asked(name: str, change: dict[str, object]) -> None:
    example = EXAMPLES[name]
    broken = msgspec.structs.replace(example.profile, **change)
    with pytest.raises(LintFailed):
        draft_certificate(broken, example.subject, KEY.public_key, example.issuer, example.terms)


@pytest.mark.req("CA-8")
def test_a_responder_of_one_ca_is_none_of_another() -> None:
    site = EXAMPLES["ocsp-responder of site-ca"]
    assert isinstance(site.subject, ServiceSubject)
    subject = ServiceSubject(site.subject.organization, site.subject.common_name, "site-b")
    with pytest.raises(LintFailed, match="begin with the issuer's names"):
        draft_certificate(site.profile, subject, KEY.public_key, site.issuer, site.terms)


@pytest.mark.parametrize("taken", EXAMPLES)
@pytest.mark.parametrize("name", EXAMPLES)
def test_a_subject_of_another_profile_is_refused(name: str, taken: str) -> None:
    example, other = EXAMPLES[name], EXAMPLES[taken]
    if type(example.subject) is type(other.subject) and example.profile.naming != "device":
        return
    if name != taken:
        with pytest.raises(PkiError, match="is no subject for"):
            draft_certificate(example.profile, other.subject, KEY.public_key, example.issuer, example.terms)


def test_what_the_journal_records_of_a_device_without_a_name() -> None:
    example = EXAMPLES["ieee2030-5-device"]
    draft = draft_certificate(example.profile, example.subject, KEY.public_key, example.issuer, example.terms)
    assert (draft.what["serial"], draft.what["subject"]) == ("SN-0001", f"hardwareModuleName {HW_TYPE} SN-0001")
