"""Time-stamps made by `openssl ts`, judged by us."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID
from rfc3161_client import HashAlgorithm, TimestampRequestBuilder

from pki.log.audit import audit_files
from pki.log.errors import AuditFailed, StampInvalid
from pki.log.files import Files
from pki.log.policy import parse_policy
from pki.log.stamps import MAX_AUTHORITIES, MAX_STAMP, Stamp, parse_authorities, parse_policy_id, verify_stamp
from tests.ceremonies.authorities import entitle
from tests.pki.log.building import POLICY as TRUST
from tests.pki.log.building import sample_journal
from tests.stamping import POLICY, StampAuthority

DATA = b"a checkpoint"
DATA_IMPRINT = hashlib.sha256(DATA).digest()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StampAuthority]:
    yield StampAuthority(tmp_path_factory.mktemp("tsa") / "one")


def test_a_stamp_says_before_when_and_who(authority: StampAuthority) -> None:
    query = TimestampRequestBuilder(DATA, HashAlgorithm.SHA512).build()
    stamp = verify_stamp(authority.reply(query.as_bytes()), DATA, [authority.root], nonce=query.nonce, policy=POLICY)
    assert (stamp.policy, stamp.authority) == (POLICY, "CN=stamping unit")
    assert stamp.before.endswith("Z")
    assert stamp.serial > 0


def test_the_accuracy_counts(tmp_path: Path) -> None:
    """`before` is the latest moment that the authority vouches for."""
    day = StampAuthority(tmp_path / "coarse", accuracy="secs:86400")
    coarse = verify_stamp(day.stamp(DATA), DATA, [day.root])
    fine = StampAuthority(tmp_path / "fine", accuracy="millisecs:1")
    assert coarse.before[:10] > verify_stamp(fine.stamp(DATA), DATA, [fine.root]).before[:10]


@pytest.mark.req("EV-1")
def test_what_is_not_as_asked_is_refused(authority: StampAuthority, tmp_path: Path) -> None:
    query = TimestampRequestBuilder(DATA, HashAlgorithm.SHA256).build()
    response, roots = authority.reply(query.as_bytes()), [authority.root]
    other, wrong = (
        StampAuthority(tmp_path / "other"),
        StampAuthority(tmp_path / "wrong", ExtendedKeyUsageOID.SERVER_AUTH),
    )
    nonce = query.nonce or 0
    verify_stamp(response, DATA, roots, nonce=nonce, policy=POLICY)
    refused: dict[str, Callable[[], Stamp]] = {
        "Mismatch between messages": lambda: verify_stamp(response, DATA + b"x", roots),
        "Nonce mismatch": lambda: verify_stamp(response, DATA, roots, nonce=nonce + 1),
        "Policy ID mismatch": lambda: verify_stamp(response, DATA, roots, policy=f"{POLICY}.9"),
        "verifying certificates": lambda: verify_stamp(response, DATA, [other.root]),
        "nobody is trusted": lambda: verify_stamp(response, DATA, []),
        "no time-stamp": lambda: verify_stamp(response[:-1], DATA, roots),
        "at most": lambda: verify_stamp(bytes(MAX_STAMP + 1), DATA, roots),
        "is no OID": lambda: verify_stamp(response, DATA, roots, policy="1.x"),
    }
    for message, call in refused.items():
        with pytest.raises(StampInvalid, match=message):
            call()
    assert wrong.root != other.root


@pytest.mark.req("EV-1")
@pytest.mark.parametrize("issuer", ["stamping root", "STAMPING ROOT"])
def test_no_made_up_twin_of_its_certificate_lends_the_authority_another_name(tmp_path: Path, issuer: str) -> None:
    """The list of certificates in a stamp is signed by nobody. The twin has issuer and number of the true one, in the
    second case but for what OpenSSL does not tell apart.
    """
    unit = StampAuthority(tmp_path / "tsa")
    true = x509.load_pem_x509_certificate((unit.path / "tsa.pem").read_bytes())
    key = load_pem_private_key((unit.path / "tsa.key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    builder = x509.CertificateBuilder(
        entitle(issuer), entitle("national time-stamping authority"), key.public_key(), true.serial_number,
        true.not_valid_before_utc, true.not_valid_after_utc,
    ).add_extension(x509.BasicConstraints(ca=False, path_length=None), True)  # fmt: skip
    twin = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), True)
    made_up = twin.sign(key, hashes.SHA256())
    (unit.path / "true.pem").write_bytes((unit.path / "tsa.pem").read_bytes())
    (unit.path / "tsa.pem").write_bytes(made_up.public_bytes(Encoding.PEM))
    settings = (unit.path / "tsa.cnf").read_text()
    (unit.path / "tsa.cnf").write_text(settings.replace("\ncerts = tsa.pem", "\ncerts = true.pem"))
    order = made_up.public_bytes(Encoding.DER), true.public_bytes(Encoding.DER)
    response = unit.stamp(DATA)
    assert b"".join(order) in response
    with pytest.raises(StampInvalid, match="2 certificates have the number"):
        verify_stamp(response.replace(b"".join(order), b"".join(reversed(order))), DATA, [unit.root])


def test_a_certificate_for_something_else_stamps_nothing(tmp_path: Path) -> None:
    """openssl itself refuses to stamp with it, so its purpose is exchanged behind its back."""
    true = StampAuthority(tmp_path / "true")
    response = true.stamp(DATA)
    stamping, other = b"\x2b\x06\x01\x05\x05\x07\x03\x08", b"\x2b\x06\x01\x05\x05\x07\x03\x01"
    assert stamping in response
    with pytest.raises(StampInvalid):
        verify_stamp(response.replace(stamping, other), DATA, [true.root])


@pytest.mark.req("EV-1")
def test_no_byte_of_what_was_signed_can_change(authority: StampAuthority) -> None:
    response = authority.stamp(DATA)
    start = response.index(DATA_IMPRINT)
    for at in range(start - 40, start + len(DATA_IMPRINT) + 20, 3):
        changed = bytearray(response)
        changed[at] ^= 1
        with pytest.raises(StampInvalid):
            verify_stamp(bytes(changed), DATA, [authority.root])


def test_files_of_authorities_have_limits(authority: StampAuthority) -> None:
    pem = authority.root.public_bytes(Encoding.PEM)
    assert parse_authorities(pem + pem) == (authority.root, authority.root)
    for bad in (b"", b"text", pem * (MAX_AUTHORITIES + 1)):
        with pytest.raises(StampInvalid):
            parse_authorities(bad)
    assert parse_policy_id(POLICY).dotted_string == POLICY


@pytest.mark.req("EV-1", "EV-2")
def test_stamps_of_an_export(authority: StampAuthority) -> None:
    journal = sample_journal()
    files = journal.files()
    size = len(journal.entries)
    files[f"checkpoints/{size}"] = files["checkpoint"]
    path = f"checkpoints/{size}.tsr"

    def audit(*trusted: x509.Certificate, **changed: bytes) -> tuple[str, ...]:
        given = {**files, **{path: authority.stamp(files["checkpoint"])}, **changed}
        return audit_files(Files(given.__getitem__, frozenset(given), parse_policy(TRUST), authorities=trusted)).stamps

    (line,) = audit(authority.root)
    assert line.startswith(f"{size} entries: existed before 20")
    assert audit() == (f"{size} entries: a time-stamp that was not verified",)
    with pytest.raises(AuditFailed, match=f"{path}: Mismatch between messages"):
        audit(authority.root, **{path: authority.stamp(b"other")})
    with pytest.raises(AuditFailed, match="no checkpoint stands beside it"):
        audit(**{"checkpoints/1.tsr": b""})
    with pytest.raises(AuditFailed):
        audit(**{"checkpoints/01.tsr": b""})
