"""Each lint is shown a certificate that is wrong in one way and otherwise right."""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pki.names import AuthoritySubject, DeviceSubject, HardwareModule
from pki.x509.certificates import draft_certificate
from pki.x509.der import SEQUENCE, write_element
from pki.x509.errors import LintFailed, SubjectRefused
from pki.x509.issuers import Issuer
from pki.x509.lint import lint_certificate
from pki.x509.profiles import DEVICE_CA, IDENTITY_ROOT, IDEVID, SITE_CA, Profile
from tests.pki.x509.soft_keys import BEGIN, NUMBER, make_hierarchy, make_key, make_subject, make_terms

NEVER = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
KEY = make_key()
Extensions = dict[str, tuple[x509.ExtensionType, bool]]


def _attribute(oid: x509.ObjectIdentifier, value: str) -> x509.NameAttribute[str]:
    return x509.NameAttribute(oid, value)


def _usage(*, sign: bool = True, agree: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(sign, False, False, False, agree, False, False, False, False)


def _ski(key: ec.EllipticCurvePublicKey) -> x509.SubjectKeyIdentifier:
    point = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return x509.SubjectKeyIdentifier(hashlib.sha256(point).digest()[:20])


class Forgery(msgspec.Struct):
    """A device certificate of the soft hierarchy, right in everything until a test changes it."""

    number: int
    begin: datetime
    end: datetime
    issuer: x509.Name
    subject: list[x509.NameAttribute[str]]
    key: ec.EllipticCurvePublicKey
    extensions: Extensions
    hash: hashes.SHA256 | hashes.SHA384

    def sign(self) -> bytes:
        builder = x509.CertificateBuilder(self.issuer, x509.Name(self.subject), self.key, self.number)
        builder = builder.not_valid_before(self.begin).not_valid_after(self.end)
        for value, critical in self.extensions.values():
            builder = builder.add_extension(value, critical)
        return builder.sign(make_hierarchy().device_key.private, self.hash).public_bytes(Encoding.DER)


def make_forgery() -> Forgery:
    issuer = x509.load_pem_x509_certificate(make_hierarchy().device_ca.certificate)
    authority = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    subject = [
        _attribute(NameOID.ORGANIZATION_NAME, "Acme Storage"),
        _attribute(NameOID.COMMON_NAME, "bms"),
        _attribute(NameOID.SERIAL_NUMBER, "SN-1"),
    ]
    key = KEY.private.public_key()
    extensions: Extensions = {
        "basic": (x509.BasicConstraints(ca=False, path_length=None), True),
        "usage": (_usage(), True),
        "aki": (x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(authority), False),
        "ski": (_ski(key), False),
    }
    return Forgery(NUMBER, BEGIN, NEVER, issuer.subject, subject, key, extensions, hashes.SHA256())


def _set(name: str, value: x509.ExtensionType, critical: bool) -> Callable[[Forgery], None]:
    return lambda forgery: forgery.extensions.update({name: (value, critical)})


def _drop(name: str) -> Callable[[Forgery], None]:
    def change(forgery: Forgery) -> None:
        del forgery.extensions[name]

    return change


def _change(field: str, value: object) -> Callable[[Forgery], None]:
    return lambda forgery: setattr(forgery, field, value)


def _rename(*attributes: x509.NameAttribute[str]) -> Callable[[Forgery], None]:
    return lambda forgery: setattr(forgery, "subject", list(attributes))


def test_the_forgery_is_right_until_it_is_changed() -> None:
    tbs = lint_certificate("idevid", make_forgery().sign(), make_hierarchy().device_ca)
    assert tbs.serial_number == NUMBER


OTHER_NAME = x509.OtherName(x509.ObjectIdentifier("1.3.6.1.5.5.7.8.4"), bytes.fromhex("300806022a0304024142"))
SHA1_SKI = x509.SubjectKeyIdentifier.from_public_key(KEY.private.public_key())
CODE_SIGNING = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING])
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), b"")
ORG, CN, SERIAL = (
    _attribute(NameOID.ORGANIZATION_NAME, "Acme Storage"),
    _attribute(NameOID.COMMON_NAME, "bms"),
    _attribute(NameOID.SERIAL_NUMBER, "SN-1"),
)

BUGS: dict[str, tuple[Callable[[Forgery], None], str]] = {
    "number of 64 bits": (_change("number", (1 << 64) - 1), "serial number"),
    "begins before its issuer": (_change("begin", BEGIN - timedelta(seconds=1)), "begins before"),
    "ends": (_change("end", datetime(2036, 1, 1, tzinfo=UTC)), "notAfter"),
    "ends one second early": (_change("end", NEVER - timedelta(seconds=1)), "notAfter"),
    "another issuer": (_change("issuer", x509.Name([ORG])), "octet for octet"),
    "no serial": (_rename(ORG, CN), "in order"),
    "order": (_rename(CN, ORG, SERIAL), "in order"),
    "surplus unit": (_rename(ORG, _attribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "x"), CN, SERIAL), "in order"),
    "lower case serial": (_rename(ORG, CN, _attribute(NameOID.SERIAL_NUMBER, "sn")), "device serial"),
    "a curve": (_change("key", make_key(ec.SECP384R1()).private.public_key()), "curve"),
    "a hash": (_change("hash", hashes.SHA384()), "signature algorithm"),
    "a CA": (_set("basic", x509.BasicConstraints(True, 0), True), "2.5.29.19"),
    "basicConstraints not critical": (_set("basic", x509.BasicConstraints(False, None), False), "2.5.29.19"),
    "no basicConstraints": (_drop("basic"), "missing extension 2.5.29.19"),
    "keyAgreement": (_set("usage", _usage(agree=True), True), "2.5.29.15"),
    "keyUsage not critical": (_set("usage", _usage(), False), "2.5.29.15"),
    "no keyUsage": (_drop("usage"), "missing extension 2.5.29.15"),
    "another AKI": (_set("aki", x509.AuthorityKeyIdentifier(b"x" * 20, None, None), False), "2.5.29.35"),
    "no AKI": (_drop("aki"), "missing extension 2.5.29.35"),
    "SKI by SHA-1": (_set("ski", SHA1_SKI, False), "2.5.29.14"),
    "critical SKI": (_set("ski", _ski(KEY.private.public_key()), True), "2.5.29.14"),
    "no SKI": (_drop("ski"), "missing extension 2.5.29.14"),
    "a key purpose": (_set("eku", CODE_SIGNING, False), "surplus extension 2.5.29.37"),
    "a host": (_set("san", x509.SubjectAlternativeName([x509.DNSName("a.example")]), True), "hardwareModuleName"),
    "hardware, not critical": (_set("san", x509.SubjectAlternativeName([OTHER_NAME]), False), "not critical"),
    "two names": (_set("san", x509.SubjectAlternativeName([OTHER_NAME, OTHER_NAME]), True), "not one hardware"),
    "an unknown extension": (_set("x", UNKNOWN, False), "surplus extension 2a03"),
}  # fmt: skip


@pytest.mark.req("CA-4", "CA-12")
@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_is_found(bug: str) -> None:
    change, finding = BUGS[bug]
    forgery = make_forgery()
    change(forgery)
    with pytest.raises(LintFailed, match=finding) as caught:
        lint_certificate("idevid", forgery.sign(), make_hierarchy().device_ca)
    assert caught.value.findings


@pytest.mark.req("CA-12")
@pytest.mark.parametrize(
    ("profile", "change"),
    [
        (IDEVID, {"authority": True, "path_length": 0}),
        (IDEVID, {"key_usage": frozenset(("digital_signature", "key_cert_sign"))}),
        (IDEVID, {"key_usage": frozenset()}),
        (IDEVID, {"extended_key_usage": ("1.3.6.1.5.5.7.3.3",)}),
        (DEVICE_CA, {"path_length": None}),
        (DEVICE_CA, {"path_length": 1}),
        (DEVICE_CA, {"key_usage": frozenset(("key_cert_sign", "digital_signature"))}),
        (DEVICE_CA, {"curves": ("secp384r1",)}),
        (SITE_CA, {"extended_key_usage": ()}),
        (SITE_CA, {"path_length": 1}),
        (IDENTITY_ROOT, {"path_length": None}),
        (IDENTITY_ROOT, {"curves": ("secp256r1",)}),
    ],
)
def test_a_profile_bug_is_refused_before_a_key_is_asked(profile: Profile, change: dict[str, object]) -> None:
    broken = msgspec.structs.replace(profile, **change)
    hierarchy = make_hierarchy()
    issuer = {"identity-root": hierarchy.root, "device-ca": hierarchy.device_ca}[profile.issuers[0]]
    subject: DeviceSubject | AuthoritySubject = make_subject()
    if profile.authority:
        subject = AuthoritySubject("Acme Storage", "CA", 2, "site-a" if profile.site_bound else "")
    elif broken.authority:
        with pytest.raises(SubjectRefused):
            draft_certificate(broken, subject, KEY.public_key, issuer, make_terms())
        return
    curve = ec.SECP384R1() if "secp384r1" in broken.curves else ec.SECP256R1()
    terms = make_terms(2035) if profile.authority else make_terms()
    with pytest.raises(LintFailed):
        draft_certificate(broken, subject, make_key(curve).public_key, None if profile.self_signed else issuer, terms)


@pytest.mark.req("CA-8")
def test_a_site_ca_without_its_name_constraints_is_refused() -> None:
    broken = msgspec.structs.replace(SITE_CA, site_bound=False)
    subject = AuthoritySubject("Acme Storage", "Site CA", 2)
    with pytest.raises(LintFailed, match=r"missing extension 2\.5\.29\.30") as caught:
        draft_certificate(broken, subject, KEY.public_key, make_hierarchy().root, make_terms(2030))
    assert any("attributes" in finding for finding in caught.value.findings)


@pytest.mark.parametrize(
    ("end", "finding"),
    [(datetime(2058, 1, 1, tzinfo=UTC), "ends after its issuer"), (datetime(2090, 1, 1, tzinfo=UTC), "more than")],
)
def test_a_ca_cannot_outlive_its_issuer_or_its_profile(end: datetime, finding: str) -> None:
    hierarchy = make_hierarchy()
    root = msgspec.structs.replace(hierarchy.root, not_after=min(end, datetime(2057, 1, 1, tzinfo=UTC)))
    terms = msgspec.structs.replace(make_terms(), not_after=end)
    subject = AuthoritySubject("Acme Storage", "Device CA", 2)
    with pytest.raises(LintFailed, match=finding):
        draft_certificate(DEVICE_CA, subject, KEY.public_key, root, terms)


def test_a_ca_is_never_its_issuers_namesake() -> None:
    subject = AuthoritySubject("Acme Storage", "Identity Root", 1)
    with pytest.raises(LintFailed, match="the subject is the issuer's"):
        draft_certificate(DEVICE_CA, subject, KEY.public_key, make_hierarchy().root, make_terms(2030))


def test_a_ca_without_a_generation_in_its_name() -> None:
    forgery = make_forgery()
    forgery.subject = [ORG, CN]
    forgery.end = datetime(2030, 1, 1, tzinfo=UTC)
    with pytest.raises(LintFailed, match="generation"):
        lint_certificate("device-ca", forgery.sign(), make_hierarchy().device_ca)


def test_a_ca_that_ends_before_it_begins() -> None:
    der = make_hierarchy().device_ca.certificate
    body = x509.load_pem_x509_certificate(der).tbs_certificate_bytes
    changed = body.replace(b"\x17\x0d260102030405Z", b"\x17\x0d490102030405Z").replace(b"\x18\x0f2055", b"\x18\x0f2050")
    lint_certificate("device-ca", changed, make_hierarchy().root)
    changed = body.replace(
        b"\x17\x0d260102030405Z\x18\x0f20550101000000Z", b"\x18\x0f20550101000000Z\x17\x0d260102030405Z"
    )
    with pytest.raises(LintFailed, match="ends before it begins"):
        lint_certificate("device-ca", changed, make_hierarchy().root)


def test_string_types() -> None:
    der = make_forgery().sign()
    for old, new in (("0603550405" + "13", "0603550405" + "0c"), ("060355040a" + "0c", "060355040a" + "16")):
        assert bytes.fromhex(old) in der
        # The last one is the subject's.
        head, tail = der.rsplit(bytes.fromhex(old), 1)
        with pytest.raises(LintFailed, match="string type"):
            lint_certificate("idevid", head + bytes.fromhex(new) + tail, make_hierarchy().device_ca)


def test_two_algorithms_that_differ() -> None:
    der = make_forgery().sign()
    swapped = der[::-1].replace(bytes.fromhex("2a8648ce3d040302")[::-1], bytes.fromhex("2a8648ce3d040303")[::-1], 1)
    with pytest.raises(LintFailed, match="algorithms differ"):
        lint_certificate("idevid", swapped[::-1], make_hierarchy().device_ca)


def test_an_extension_twice() -> None:
    certificate = x509.load_der_x509_certificate(make_forgery().sign())
    body = certificate.tbs_certificate_bytes
    basic = bytes.fromhex("300c0603551d130101ff04023000")
    start = body.index(basic) - 4
    assert body[start] == 0xA3
    outer, inner = body[4:start], body[body.index(basic) :]
    wrapped = write_element(0xA3, write_element(SEQUENCE, basic, inner))
    assert body.endswith(inner)
    with pytest.raises(LintFailed, match=r"second extension 2\.5\.29\.19"):
        lint_certificate("idevid", write_element(SEQUENCE, outer, wrapped), make_hierarchy().device_ca)


def test_no_lints_no_certificate() -> None:
    der = make_forgery().sign()
    device_ca: Issuer = make_hierarchy().device_ca
    for profile, issuer in (("", device_ca), ("tls", device_ca), ("idevid", None), ("identity-root", device_ca)):
        with pytest.raises(LintFailed):
            lint_certificate(profile, der, issuer)


@pytest.mark.parametrize("der", [b"", b"\x30", b"\x30\x00", b"\x30\x03\xa0\x01\x00", bytes(100)])
def test_what_is_no_certificate(der: bytes) -> None:
    with pytest.raises(LintFailed):
        lint_certificate("idevid", der, make_hierarchy().device_ca)


def test_hardware_module_names_are_read_to_the_end() -> None:
    hierarchy = make_hierarchy()
    subject = msgspec.structs.replace(make_subject(), hardware=HardwareModule("1.3.6.1.4.1.99999.1", b"SN-0001"))
    draft = draft_certificate(IDEVID, subject, KEY.public_key, hierarchy.device_ca, make_terms())
    lint_certificate("idevid", draft.payload, hierarchy.device_ca)
    for value in ("30050601020500", "3003060102", "040141", "30050601020400"):
        name = x509.OtherName(x509.ObjectIdentifier("1.3.6.1.5.5.7.8.4"), bytes.fromhex(value))
        forgery = make_forgery()
        forgery.extensions["san"] = (x509.SubjectAlternativeName([name]), True)
        with pytest.raises(LintFailed, match="hardwareModuleName"):
            lint_certificate("idevid", forgery.sign(), hierarchy.device_ca)
