"""Lists as a relying party reads them, beside openssl: scope, age, order, and who signed them."""

import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from pki.x509.crls import CrlTerms, draft_crl
from pki.x509.errors import CertificateRevoked, CrlExpired, CrlInvalid, CrlOutdated, CrlOutOfScope
from pki.x509.issuers import Issuer
from pki.x509.revocation import Revoked, check_certificate, read_authority, verify_crl
from tests.pki.x509.soft_keys import BEGIN, NOW, NUMBER, SoftKey, make_hierarchy, make_key

HIERARCHY = make_hierarchy()
ISSUER = HIERARCHY.device_ca
URL = "http://crl.example/pki/crl/device-ca/20.crl"
BAD = Revoked(NUMBER, int(NOW.timestamp()) - 60, "keyCompromise")


def sign(key: SoftKey = HIERARCHY.device_key, issuer: Issuer = ISSUER, number: int = 9, url: str = "") -> bytes:
    """A list that revokes BAD."""
    return key.finish(draft_crl(issuer, [BAD], CrlTerms(number, NOW, NOW + timedelta(days=1), url)))


def issue(number: int, url: str = "") -> bytes:
    """A certificate by the device CA in PEM, with a distribution point where that is given."""
    builder = (
        x509.CertificateBuilder()
        .issuer_name(x509.load_pem_x509_certificate(ISSUER.certificate).subject)
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "device")]))
        .serial_number(number)
        .not_valid_before(BEGIN)
        .not_valid_after(NOW + timedelta(days=9))
        .public_key(make_key().private.public_key())
        .add_extension(x509.AuthorityKeyIdentifier(ISSUER.ski, None, None), critical=False)
    )
    if url:
        point = x509.DistributionPoint([x509.UniformResourceIdentifier(url)], None, None, None)
        builder = builder.add_extension(x509.CRLDistributionPoints([point]), critical=False)
    return builder.sign(HIERARCHY.device_key.private, hashes.SHA256()).public_bytes(Encoding.PEM)


@pytest.mark.req("CA-9", "CA-10")
@pytest.mark.parametrize("url", ["", URL], ids=["complete", "partition"])
def test_openssl_and_kedge_agree(tmp_path: Path, url: str) -> None:
    (tmp_path / "root.pem").write_bytes(HIERARCHY.root.certificate)
    (tmp_path / "ca.pem").write_bytes(ISSUER.certificate)
    der = sign(url=url)
    (tmp_path / "crl.pem").write_bytes(x509.load_der_x509_crl(der).public_bytes(Encoding.PEM))
    crl = verify_crl(der, ISSUER, NOW)
    for number, status in ((NUMBER, "revoked"), (NUMBER + 1, "")):
        leaf = issue(number, url)
        (tmp_path / "leaf.pem").write_bytes(leaf)
        command = ["openssl", "verify", "-crl_check", "-CRLfile", "crl.pem", "-attime", str(int(NOW.timestamp()))]
        command += ["-CAfile", "root.pem", "-untrusted", "ca.pem", "leaf.pem"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == (2 if status else 0), done.stdout + done.stderr
        assert ("certificate revoked" in done.stderr) == bool(status)
        if status:
            with pytest.raises(CertificateRevoked, match="keyCompromise"):
                check_certificate(crl, leaf)
        else:
            assert check_certificate(crl, leaf) == number


@pytest.mark.req("CA-9")
def test_openssl_refuses_the_list_of_another_partition(tmp_path: Path) -> None:
    (tmp_path / "root.pem").write_bytes(HIERARCHY.root.certificate)
    (tmp_path / "ca.pem").write_bytes(ISSUER.certificate)
    (tmp_path / "crl.pem").write_bytes(x509.load_der_x509_crl(sign(url=URL)).public_bytes(Encoding.PEM))
    other = issue(NUMBER + 1, URL.replace("20.crl", "21.crl"))
    (tmp_path / "leaf.pem").write_bytes(other)
    command = ["openssl", "verify", "-crl_check", "-CRLfile", "crl.pem", "-attime", str(int(NOW.timestamp()))]
    command += ["-CAfile", "root.pem", "-untrusted", "ca.pem", "leaf.pem"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "different CRL scope" in done.stderr, done.stderr
    crl = verify_crl(sign(url=URL), ISSUER, NOW)
    for leaf in (other, issue(NUMBER + 1), HIERARCHY.device_ca.certificate):
        with pytest.raises(CrlOutOfScope):
            check_certificate(crl, leaf)


@pytest.mark.req("CA-10", "T39")
def test_an_older_list_after_a_newer_one_is_refused() -> None:
    newer, older = sign(number=10), sign(number=9)
    newest = verify_crl(newer, ISSUER, NOW).facts.number
    assert verify_crl(newer, ISSUER, NOW, newest=newest).facts.number == 10
    with pytest.raises(CrlOutdated, match="seen before"):
        verify_crl(older, ISSUER, NOW, newest=newest)


@pytest.mark.req("CA-10", "T39")
def test_a_list_counts_until_its_end_and_its_grace() -> None:
    der, end = sign(), NOW + timedelta(days=1)
    assert verify_crl(der, ISSUER, end).facts.next_update == end
    late = end + timedelta(seconds=1)
    for at, grace in ((late, timedelta(0)), (NOW - timedelta(seconds=1), timedelta(days=9))):
        with pytest.raises(CrlExpired):
            verify_crl(der, ISSUER, at, grace=grace)
    assert verify_crl(der, ISSUER, late, grace=timedelta(hours=1)).facts.number == 9


def test_who_signed_it_counts() -> None:
    assert verify_crl(sign(), read_authority(ISSUER.certificate), NOW).revoked == {NUMBER: BAD}
    stranger = make_key()
    forged = draft_crl(ISSUER, [], CrlTerms(11, NOW, NOW + timedelta(days=1)))
    signed = forged.assemble({ISSUER.spki: stranger.sign(forged.payload)})
    for der, issuer in ((signed, ISSUER), (sign(), HIERARCHY.site_ca), (sign(), HIERARCHY.root)):
        with pytest.raises(CrlInvalid):
            verify_crl(der, issuer, NOW)
    with pytest.raises(CrlInvalid, match="no CA"):
        read_authority(issue(5))


@pytest.mark.parametrize("at", range(0, 460, 7))
def test_a_changed_octet_is_seen(at: int) -> None:
    der = bytearray(sign(url=URL))
    der[at % len(der)] ^= 0x41
    with pytest.raises(CrlInvalid):
        verify_crl(bytes(der), ISSUER, NOW)


def foreign(*extensions: tuple[x509.ExtensionType, bool], entry: x509.ExtensionType | None = None) -> bytes:
    """A list by the CA's own key that Kedge would not write."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(x509.load_pem_x509_certificate(ISSUER.certificate).subject)
        .last_update(NOW)
        .next_update(NOW + timedelta(days=1))
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    one = x509.RevokedCertificateBuilder().serial_number(5).revocation_date(NOW)
    builder = builder.add_revoked_certificate((one.add_extension(entry, critical=False) if entry else one).build())
    return builder.sign(HIERARCHY.device_key.private, hashes.SHA256()).public_bytes(Encoding.DER)


KEY_ID = (x509.AuthorityKeyIdentifier(ISSUER.ski, None, None), False)
NUMBERED = (x509.CRLNumber(5), False)


@pytest.mark.parametrize(
    "der",
    [
        foreign(NUMBERED),
        foreign(KEY_ID),
        foreign((x509.AuthorityKeyIdentifier(bytes(20), None, None), False), NUMBERED),
        foreign(KEY_ID, NUMBERED, (x509.DeltaCRLIndicator(4), True)),
        foreign(
            KEY_ID,
            NUMBERED,
            (x509.IssuingDistributionPoint(None, None, True, False, None, False, False), True),
        ),
        foreign(KEY_ID, NUMBERED, entry=x509.CRLReason(x509.ReasonFlags.remove_from_crl)),
        foreign(KEY_ID, NUMBERED, entry=x509.InvalidityDate(NOW)),
        b"",
        b"\x30\x80",
    ],
    ids=["no key id", "no number", "another key id", "delta", "another scope", "remove", "invalidity", "empty", "ber"],
)
def test_lists_of_another_form_are_refused(der: bytes) -> None:
    with pytest.raises(CrlInvalid):
        verify_crl(der, ISSUER, NOW)
    assert verify_crl(foreign(KEY_ID, NUMBERED), ISSUER, NOW).revoked.keys() == {5}
