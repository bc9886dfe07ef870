"""Device certificates: what a request must be, and what the database cannot make of a work order."""

import asyncio
import datetime
import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ceremonies.certified import read_released
from ceremonies.commands import DeviceIssued, IssueDevice, Problem, ProofShown, ShowProof
from ceremonies.issuance import WorkOrderUnknown, load_line, load_order
from ceremonies.journal import JournalForked
from ceremonies.store import Store
from ceremonies.tables import CertificateRow, DeviceRow, DocumentRow
from pki.jcs import jcs
from pki.names import ueid_of
from pki.x509.chains import verify_chain
from tests.ceremonies.examples import order_plan, read_leaves, write_sql
from tests.ceremonies.templates import on_both_keys
from tests.world import World, issue_device, make_request, soft_keys

pytestmark = pytest.mark.engines


def pem(csr: x509.CertificateSigningRequest) -> bytes:
    return csr.public_bytes(serialization.Encoding.PEM)


def build(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return pem(builder.sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()))


def try_issue(world: World, csr: bytes, serial: str = "BMS-000001", order: str = "wo-1", token: str = "") -> str:
    """The code of the refusal; empty when a certificate came."""
    answer = asyncio.run(world.try_ask(IssueDevice(order, serial, csr), "station", token))
    return answer.code if isinstance(answer, Problem) else ""


@pytest.mark.req("CA-1", "CA-4")
@on_both_keys
def test_a_certificate_says_what_the_order_says(factory_world: World) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    san = x509.SubjectAlternativeName([x509.DNSName("evil.example")])
    assert try_issue(factory_world, make_request(key, san=san)) == "profile-forbids"
    issued = asyncio.run(issue_device(factory_world, 1, make_request(key)))
    certificate = x509.load_pem_x509_certificate(issued.certificate)
    assert certificate.public_key() == key.public_key()
    subject = {item.oid: item.value for item in certificate.subject}
    assert (subject[NameOID.SERIAL_NUMBER], subject[NameOID.ORGANIZATION_NAME]) == ("BMS-000001", "Acme Storage")
    assert "device" not in subject.values()
    assert certificate.not_valid_after_utc.year == 9999
    assert issued.certificate.startswith(b"-----BEGIN CERTIFICATE-----\n")
    spki = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert issued.ueid == ueid_of(spki).hex()
    pems = [part + b"-----END CERTIFICATE-----\n" for part in issued.chain.split(b"-----END CERTIFICATE-----\n")[:-1]]
    verify_chain(issued.certificate, pems[:1], pems[1], datetime.datetime.now(datetime.UTC))
    assert issued.trust_set
    assert issued.birth_package


@on_both_keys
def test_the_answer_proves_itself(factory_world: World) -> None:
    issued = asyncio.run(issue_device(factory_world, 1, make_request()))
    digest = hashlib.sha256(issued.certificate).hexdigest()
    assert f'"doc":"{digest}"'.encode() in issued.proven.entry
    assert read_leaves(factory_world)[issued.proven.index]["out"]["doc"] == digest
    assert isinstance(asyncio.run(factory_world.try_ask(ShowProof(digest))), ProofShown)
    row = factory_world.room.store.find(DeviceRow, serial="BMS-000001")
    assert row is not None
    assert (row["certificate"], row["ueid"], row["work_order"]) == (digest, issued.ueid, "wo-1")


def broken_signature() -> bytes:
    csr = x509.load_pem_x509_csr(make_request())
    der = bytearray(csr.public_bytes(serialization.Encoding.DER))
    der[-1] ^= 1
    return bytes(der)


def other_key() -> bytes:
    """Somebody else's public key in a request that we sign."""
    ours, theirs = (x509.load_pem_x509_csr(make_request()).public_bytes(serialization.Encoding.DER) for _ in range(2))
    points = [
        x509.load_der_x509_csr(der)
        .public_key()
        .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        for der in (ours, theirs)
    ]
    return ours.replace(points[0], points[1])


BAD_REQUESTS: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "request-malformed"),
    "garbage": (lambda: b"\x30\x82" + bytes(100), "request-malformed"),
    "oversize": (lambda: make_request() + b"\n" * 17_000, "request-too-large"),
    "trailing": (
        lambda: x509.load_pem_x509_csr(make_request()).public_bytes(serialization.Encoding.DER) + b"\0",
        "request-malformed",
    ),
    "broken signature": (broken_signature, "proof-of-possession-failed"),
    "somebody else's key": (other_key, "proof-of-possession-failed"),
    "a CA": (
        lambda: make_request(a=x509.BasicConstraints(ca=True, path_length=None)),
        "profile-forbids",
    ),
    "key usage of a CA": (
        lambda: make_request(
            a=x509.KeyUsage(
                digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
                key_agreement=False, key_cert_sign=True, crl_sign=False, encipher_only=False, decipher_only=False,
            )
        ),
        "profile-forbids",
    ),
    "code signing": (
        lambda: make_request(a=x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING])),
        "profile-forbids",
    ),
    "another curve": (lambda: build(ec.generate_private_key(ec.SECP521R1())), "key-refused"),
    "koblitz": (lambda: build(ec.generate_private_key(ec.SECP256K1())), "key-refused"),
    "RSA": (lambda: build(rsa.generate_private_key(65537, 2048)), "key-refused"),
    "Ed25519": (lambda: build(ed25519.Ed25519PrivateKey.generate()), "key-refused"),
    "a certificate": (
        lambda: b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n",
        "request-malformed",
    ),
}  # fmt: skip


@pytest.mark.req("CA-1", "CA-2", "T15", "T16")
@pytest.mark.parametrize("name", BAD_REQUESTS)
def test_a_bad_request_is_refused_before_a_key_is_used(refusing_factory: World, name: str) -> None:
    make, code = BAD_REQUESTS[name]
    signed, before = soft_keys(refusing_factory).signed, refusing_factory.room.ledger.journal.size
    csr = make()
    found = try_issue(refusing_factory, csr)
    if name in ("koblitz", "RSA", "Ed25519"):
        assert found in ("key-refused", "request-malformed", "proof-of-possession-failed")
    else:
        assert found == code
    assert soft_keys(refusing_factory).signed == signed
    (entry,) = read_leaves(refusing_factory, before)
    assert entry["type"] == "key.sign.denied"
    assert entry["op"]["what"]["csr"] == hashlib.sha256(csr).hexdigest()
    assert refusing_factory.room.ledger.replay.quotas["wo-1"].issued == 0


@pytest.mark.req("T4", "T5")
@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("UPDATE work_order SET quantity = 1000", "journal-forked"),
        ("UPDATE work_order SET issued = -5", "journal-forked"),
        ("UPDATE work_order SET document = :digest", ""),
        ("DELETE FROM work_order", "journal-forked"),
        ("UPDATE certificate SET document = :digest WHERE label = 'device-ca'", ""),
        ("UPDATE certificate SET document = (SELECT document FROM certificate WHERE label = 'site-ca')", ""),
        ("UPDATE certificate SET spki = :digest WHERE label = 'device-ca'", ""),
        ("DELETE FROM certificate WHERE label = 'identity-root'", ""),
        ("UPDATE document SET seq = 0 WHERE kind = 'certificate.device-ca'", "journal-forked"),
        ("DELETE FROM document WHERE kind = 'certificate.identity-root'", "journal-forked"),
        (
            "UPDATE entry SET leaf = CAST(replace(CAST(leaf AS TEXT), 'quantity', 'quantitx') AS BLOB) "
            "WHERE type = 'quota.open'",
            "journal-forked",
        ),
        ("UPDATE entry SET type = 'quota.shut' WHERE type = 'quota.open'", ""),
    ],
)
def test_a_row_does_not_change_an_order(factory_world: World, statement: str, code: str) -> None:
    """The administrator of the database raises a quota, swaps the order, swaps the CA."""
    forged = jcs({"forged": "order"})
    digest = hashlib.sha256(forged).hexdigest()
    write_sql(factory_world, "INSERT INTO blob (sha256, seq, data) VALUES (:d, 0, :data)", d=digest, data=forged)
    write_sql(factory_world, statement, **({"digest": digest} if ":digest" in statement else {}))
    assert try_issue(factory_world, make_request()) == code


@pytest.mark.req("T5")
def test_the_order_is_the_approved_one(factory_world: World) -> None:
    """A larger order under the same id, with a document of its own, approved by nobody."""
    document = order_plan("wo-1", last=999)
    digest = hashlib.sha256(document).hexdigest()
    write_sql(factory_world, "INSERT INTO blob (sha256, seq, data) VALUES (:d, 0, :data)", d=digest, data=document)
    write_sql(factory_world, "UPDATE work_order SET document = :d", d=digest)
    assert try_issue(factory_world, make_request(), "BMS-000500") == "serial-not-in-order"
    assert load_order(factory_world.room, "wo-1").last == 25


def test_a_document_of_another_kind_is_no_ca(factory_world: World) -> None:
    room = factory_world.room
    row = room.store.find(CertificateRow, label="device-ca")
    assert row is not None
    assert read_released(room, row["document"], "certificate.device-ca").startswith(b"-----BEGIN")
    for digest, kind in ((row["document"], "certificate.site-ca"), ("0" * 64, "certificate.device-ca")):
        with pytest.raises(JournalForked):
            read_released(room, digest, kind)
    assert load_line(room, "wo-1").chain.count(b"BEGIN CERTIFICATE") == 2
    assert room.store.find(DocumentRow, kind="birth-package") is not None


@pytest.mark.req("CA-3")
@on_both_keys
def test_numbers_are_random_and_apart(factory_world: World) -> None:
    async def run() -> list[DeviceIssued]:
        return await asyncio.gather(*(issue_device(factory_world, n, make_request()) for n in range(1, 21)))

    numbers = [x509.load_pem_x509_certificate(item.certificate).serial_number for item in asyncio.run(run())]
    assert len(set(numbers)) == 20
    assert all(0 < number < 1 << 159 for number in numbers)
    assert max(number.bit_length() for number in numbers) > 150


def test_an_order_is_found_without_a_search(factory_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Store.rows

    def rows(store: Store, query: Any) -> Any:
        assert "entry.type =" not in str(query)
        return read(store, query)

    monkeypatch.setattr(Store, "rows", rows)
    assert load_order(factory_world.room, "wo-1").quantity == 20
    with pytest.raises(WorkOrderUnknown):
        load_order(factory_world.room, "wo-2")
