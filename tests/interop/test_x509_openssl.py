"""OpenSSL as the foreign program: it makes the requests, and it judges the certificates and chains."""

import re
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from pki.names import HardwareModule
from pki.x509.certificates import draft_certificate
from pki.x509.chains import verify_chain
from pki.x509.errors import ChainInvalid, KeyRefused, ProfileForbids, ProofOfPossessionFailed
from pki.x509.profiles import IDEVID
from pki.x509.requests import check_request
from tests.pki.x509.soft_keys import NOW, make_hierarchy, make_key, make_subject, make_terms
from tests.pki.x509.test_chains import Leaf
from tests.pki.x509.test_requests import read_request

KEY = make_key()


def openssl(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = ["openssl", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=30)


def make_csr(folder: Path, *arguments: str, curve: str = "P-256") -> bytes:
    """A request made by `openssl req`, with a key made by `openssl genpkey`."""
    options = ("-algorithm", "EC", "-pkeyopt", f"ec_paramgen_curve:{curve}", "-out", "key.pem")
    assert openssl("genpkey", *options, cwd=folder).returncode == 0
    result = openssl("req", "-new", "-key", "key.pem", "-subj", "/CN=device", *arguments, "-out", "csr", cwd=folder)
    assert result.returncode == 0, result.stderr
    return (folder / "csr").read_bytes()


def write_hierarchy(folder: Path) -> None:
    hierarchy = make_hierarchy()
    for name in ("root", "device_ca", "site_ca", "other_site_ca"):
        (folder / f"{name}.pem").write_bytes(getattr(hierarchy, name).certificate)
    (folder / "device.pem").write_bytes(hierarchy.issue_device(KEY))


def verify(folder: Path, leaf: bytes, issuer: str, *options: str) -> tuple[bool, str]:
    """What `openssl verify` says of a leaf below one CA, at the time of the tests."""
    (folder / "leaf.pem").write_bytes(leaf)
    at = ("-attime", str(int(NOW.timestamp())))
    chain = ("-CAfile", "root.pem", "-untrusted", f"{issuer}.pem")
    result = openssl("verify", "-x509_strict", *at, *options, *chain, "leaf.pem", cwd=folder)
    return result.returncode == 0, result.stdout + result.stderr


@pytest.mark.req("CA-1")
@pytest.mark.parametrize("form", ["PEM", "DER"])
def test_a_request_by_openssl_becomes_a_certificate(tmp_path: Path, form: str) -> None:
    request = read_request(make_csr(tmp_path, "-outform", form))
    check_request(request, IDEVID)
    hierarchy = make_hierarchy()
    draft = draft_certificate(IDEVID, make_subject(), request.public_key, hierarchy.device_ca, make_terms())
    leaf = hierarchy.device_key.finish(draft)
    write_hierarchy(tmp_path)
    assert verify(tmp_path, leaf, "device_ca") == (True, "leaf.pem: OK\n")
    of_key = openssl("pkey", "-in", "key.pem", "-pubout", cwd=tmp_path).stdout
    assert openssl("x509", "-in", "leaf.pem", "-pubkey", "-noout", cwd=tmp_path).stdout == of_key


@pytest.mark.parametrize(
    "extension",
    ["basicConstraints=critical,CA:TRUE", "extendedKeyUsage=codeSigning", "subjectAltName=DNS:a.example"],
)
def test_requests_that_ask_for_more(tmp_path: Path, extension: str) -> None:
    request = read_request(make_csr(tmp_path, "-addext", extension))
    with pytest.raises(ProfileForbids):
        check_request(request, IDEVID)


def test_a_request_on_another_curve(tmp_path: Path) -> None:
    request = read_request(make_csr(tmp_path, curve="secp521r1"))
    with pytest.raises(KeyRefused):
        check_request(request, IDEVID)


def test_both_refuse_a_broken_self_signature(tmp_path: Path) -> None:
    der = bytearray(make_csr(tmp_path, "-outform", "DER"))
    der[-1] ^= 1
    (tmp_path / "broken").write_bytes(der)
    result = openssl("req", "-verify", "-noout", "-inform", "DER", "-in", "broken", cwd=tmp_path)
    assert "failure" in result.stderr
    with pytest.raises(ProofOfPossessionFailed):
        read_request(bytes(der))


@pytest.mark.req("CA-4")
def test_what_openssl_reads_in_a_device_certificate(tmp_path: Path) -> None:
    write_hierarchy(tmp_path)
    text = openssl("x509", "-in", "device.pem", "-noout", "-text", "-nameopt", "RFC2253", cwd=tmp_path).stdout
    text = re.sub(r"\s+", " ", text)
    for part in (
        "Version: 3 (0x2)",
        "Signature Algorithm: ecdsa-with-SHA256 Issuer: CN=Device CA G1,O=Acme Storage",
        "Not Before: Jan 2 03:04:05 2026 GMT Not After : Dec 31 23:59:59 9999 GMT",
        "Subject: serialNumber=SN-0001,CN=bms-stm32h7 SN-0001,O=Acme Storage",
        "NIST CURVE: P-256",
        "X509v3 Basic Constraints: critical CA:FALSE X509v3 Key Usage: critical Digital Signature X509v3 Authority",
    ):
        assert part in text
    structure = openssl("asn1parse", "-in", "device.pem", cwd=tmp_path).stdout
    assert re.search(r"GENERALIZEDTIME\s+:99991231235959Z", structure)
    assert re.search(r"PRINTABLESTRING\s+:SN-0001", structure)


def test_what_openssl_reads_in_a_hardware_module_name(tmp_path: Path) -> None:
    hierarchy, subject = make_hierarchy(), make_subject()
    subject = type(subject)("Acme", "x", subject.serial_number, HardwareModule("1.3.6.1.4.1.99999.1", b"SN"))
    draft = draft_certificate(IDEVID, subject, KEY.public_key, hierarchy.device_ca, make_terms())
    der = x509.load_pem_x509_certificate(hierarchy.device_key.finish(draft)).public_bytes(Encoding.DER)
    offset = der.index(bytes.fromhex("06082b06010505070804"))
    (tmp_path / "name").write_bytes(der[offset + 10 :])
    structure = openssl("asn1parse", "-inform", "DER", "-in", "name", "-length", "19", cwd=tmp_path).stdout
    assert re.search(r"OBJECT\s+:1\.3\.6\.1\.4\.1\.99999\.1", structure)
    assert re.search(r"OCTET STRING\s+:SN", structure)


@pytest.mark.parametrize("name", ["root", "device_ca", "site_ca"])
def test_the_hierarchy_is_strictly_valid(tmp_path: Path, name: str) -> None:
    write_hierarchy(tmp_path)
    certificate = (tmp_path / f"{name}.pem").read_bytes()
    assert verify(tmp_path, certificate, "root", "-check_ss_sig") == (True, "leaf.pem: OK\n")
    text = openssl("x509", "-in", f"{name}.pem", "-noout", "-text", cwd=tmp_path).stdout
    text = re.sub(r"\s+", " ", text)
    length = 2 if name == "root" else 0
    assert f"Basic Constraints: critical CA:TRUE, pathlen:{length} " in text
    assert "Key Usage: critical Certificate Sign, CRL Sign" in text
    assert ("NIST CURVE: P-384" if name == "root" else "NIST CURVE: P-256") in text


@pytest.mark.req("CA-8")
def test_a_site_key_and_the_name_of_another_site(tmp_path: Path) -> None:
    """The own verifier and OpenSSL refuse the same chains."""
    hierarchy = make_hierarchy()
    write_hierarchy(tmp_path)
    host = (x509.SubjectAlternativeName([x509.DNSName("a.example")]), False)
    for leaf, accepted in (
        (Leaf(hierarchy.site_ca, hierarchy.site_key), True),
        (Leaf(hierarchy.site_ca, hierarchy.site_key, site="site-b"), False),
        (Leaf(hierarchy.site_ca, hierarchy.site_key, organization="Other"), False),
        (Leaf(hierarchy.site_ca, hierarchy.site_key, extensions=(host,)), False),
    ):
        certificate = leaf.sign()
        good, said = verify(tmp_path, certificate, "site_ca")
        assert good == accepted, said
        assert accepted or "subtree violation" in said
        if accepted:
            verify_chain(certificate, [hierarchy.site_ca.certificate], hierarchy.root.certificate, NOW)
        else:
            with pytest.raises(ChainInvalid):
                verify_chain(certificate, [hierarchy.site_ca.certificate], hierarchy.root.certificate, NOW)


@pytest.mark.req("CA-8")
def test_a_site_key_has_no_purpose_but_tls(tmp_path: Path) -> None:
    hierarchy = make_hierarchy()
    write_hierarchy(tmp_path)
    purposes = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.EMAIL_PROTECTION]
    extension = (x509.ExtendedKeyUsage(purposes), False)
    leaf = Leaf(hierarchy.site_ca, hierarchy.site_key, extensions=(extension,)).sign()
    assert verify(tmp_path, leaf, "site_ca", "-purpose", "sslclient")[0]
    good, said = verify(tmp_path, leaf, "site_ca", "-purpose", "smimesign")
    assert not good
    assert "purpose" in said


@pytest.mark.req("CA-8")
def test_a_device_key_signs_no_certificate(tmp_path: Path) -> None:
    hierarchy = make_hierarchy()
    write_hierarchy(tmp_path)
    device = x509.load_pem_x509_certificate((tmp_path / "device.pem").read_bytes())
    ski = device.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    parent = type(hierarchy.device_ca)(
        KEY.public_key, b"", ski, NOW, NOW, "device-ca", KEY.spki, device.public_bytes(Encoding.PEM)
    )
    (tmp_path / "both.pem").write_bytes(hierarchy.device_ca.certificate + parent.certificate)
    good, said = verify(tmp_path, Leaf(parent, KEY).sign(), "both")
    assert not good
    assert "invalid CA certificate" in said
