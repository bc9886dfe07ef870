"""OCSP: requests by openssl and cryptography, strict about all others; responses that both accept."""

import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from pki.errors import PkiError
from pki.names import ServiceSubject
from pki.x509.certificates import draft_certificate
from pki.x509.crls import find_algorithm
from pki.x509.der import SEQUENCE, write_element
from pki.x509.errors import AssemblyFailed, StatusRequestMalformed
from pki.x509.ocsp import (
    LIMIT,
    TRY_LATER,
    Span,
    Status,
    assemble_response,
    parse_status_request,
    write_error,
    write_response,
)
from pki.x509.profiles import OCSP_RESPONDER
from pki.x509.terms import Terms
from tests.pki.x509.soft_keys import NOW, NUMBER, make_hierarchy, make_key

HIERARCHY = make_hierarchy()
ISSUER = x509.load_pem_x509_certificate(HIERARCHY.device_ca.certificate)
LEAF = x509.load_pem_x509_certificate(HIERARCHY.issue_device(make_key()))
KEY = make_key()
TERMS = Terms(NUMBER + 1, NOW, NOW + timedelta(days=30))
NAMED = ServiceSubject("Acme Storage", "Device CA OCSP")
RESPONDER = HIERARCHY.device_key.finish(
    draft_certificate(OCSP_RESPONDER, NAMED, KEY.public_key, HIERARCHY.device_ca, TERMS)
)
SUBJECT = x509.load_pem_x509_certificate(RESPONDER).subject.public_bytes()
SPAN = Span(NOW, NOW + timedelta(hours=1))


def ask(algorithm: hashes.HashAlgorithm | None = None, nonce: bytes = b"") -> bytes:
    builder = ocsp.OCSPRequestBuilder().add_certificate(LEAF, ISSUER, algorithm or hashes.SHA256())
    if nonce:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    return builder.build().public_bytes(Encoding.DER)


def answer(request: bytes, status: Status) -> bytes:
    tbs = write_response(parse_status_request(request), status, SPAN, SUBJECT)
    return assemble_response(tbs, find_algorithm(KEY.public_key), KEY.sign(tbs), RESPONDER)


@pytest.mark.req("CA-9")
@pytest.mark.parametrize("algorithm", [hashes.SHA1(), hashes.SHA256(), hashes.SHA384(), hashes.SHA512()])
def test_a_request_names_its_issuer(algorithm: hashes.HashAlgorithm) -> None:
    request = parse_status_request(ask(algorithm, bytes(32)))
    assert (request.number, request.nonce) == (LEAF.serial_number, bytes(32))
    found = [request.is_about(ca) for ca in (HIERARCHY.device_ca, HIERARCHY.site_ca, HIERARCHY.root)]
    assert found == [True, False, False]
    assert parse_status_request(ask(algorithm)).nonce == b""


@pytest.mark.req("CA-9")
@pytest.mark.parametrize(
    ("status", "told"),
    [
        (Status("good"), "good"),
        (Status("unknown"), "unknown"),
        (Status("revoked", 1_790_000_000, "keyCompromise"), "revoked"),
        (Status("revoked", 1_790_000_000), "revoked"),
    ],
)
def test_openssl_accepts_the_answer_to_its_own_request(tmp_path: Path, status: Status, told: str) -> None:
    for name, data in (("leaf", LEAF), ("ca", ISSUER)):
        (tmp_path / f"{name}.pem").write_bytes(data.public_bytes(Encoding.PEM))
    (tmp_path / "root.pem").write_bytes(HIERARCHY.root.certificate)
    asked = ["openssl", "ocsp", "-issuer", "ca.pem", "-cert", "leaf.pem"]
    subprocess.run([*asked, "-reqout", "request"], cwd=tmp_path, check=True, capture_output=True)
    request = (tmp_path / "request").read_bytes()
    (tmp_path / "response").write_bytes(answer(request, status))
    trust = ["-respin", "response", "-CAfile", "root.pem", "-verify_other", "ca.pem"]
    trust += ["-attime", str(int(NOW.timestamp())), "-validity_period", "999999999"]
    command = ["openssl", "ocsp", "-reqin", "request", *trust]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stderr == "Response verify OK\n"  # with the request's nonce
    done = subprocess.run([*asked, "-no_nonce", *trust], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert f"leaf.pem: {told}\n" in done.stdout, done.stdout
    assert ("Reason: keyCompromise" in done.stdout) == (status.reason == "keyCompromise")


def test_what_cryptography_reads_in_an_answer() -> None:
    read = ocsp.load_der_ocsp_response(answer(ask(nonce=b"n" * 16), Status("revoked", 1_790_000_000, "superseded")))
    assert read.response_status is ocsp.OCSPResponseStatus.SUCCESSFUL
    assert (read.certificate_status, read.serial_number) == (ocsp.OCSPCertStatus.REVOKED, LEAF.serial_number)
    assert (read.this_update_utc, read.next_update_utc, read.produced_at_utc) == (SPAN.made, SPAN.until, SPAN.made)
    assert read.revocation_reason is x509.ReasonFlags.superseded
    assert read.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce == b"n" * 16
    later = ocsp.load_der_ocsp_response(write_error(TRY_LATER))
    assert later.response_status is ocsp.OCSPResponseStatus.TRY_LATER


def test_the_responder_may_answer_and_nothing_else() -> None:
    read = x509.load_pem_x509_certificate(RESPONDER)
    purposes = read.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [ExtendedKeyUsageOID.OCSP_SIGNING]
    assert not read.extensions.get_extension_for_class(x509.OCSPNoCheck).critical


@pytest.mark.req("T25")
@pytest.mark.parametrize("size", [0, 129])
def test_nonces_have_a_length(size: int) -> None:
    well = ask(nonce=b"n" * 16)
    at = well.index(b"\x04\x10" + b"n" * 16)
    assert parse_status_request(well).nonce == b"n" * 16
    inner = write_element(0x04, b"n" * size)
    # The lengths around it are rebuilt by hand: [2] {SEQUENCE {SEQUENCE {OID, OCTET STRING {OCTET STRING}}}}.
    oid = bytes.fromhex("06092b0601050507300102")
    extension = write_element(0xA2, write_element(SEQUENCE, write_element(SEQUENCE, oid, write_element(4, inner))))
    listed = well[well.index(b"\x30", 2) :]
    requests = listed[listed.index(b"\x30", 2) : at - (well.index(b"\x30", 2)) - 19]
    der = write_element(SEQUENCE, write_element(SEQUENCE, requests, extension))
    with pytest.raises(StatusRequestMalformed):
        parse_status_request(der)


@given(st.binary(max_size=200))
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(StatusRequestMalformed):
        parse_status_request(data)


@given(st.integers(0, 200), st.integers(1, 255))
def test_a_changed_octet_is_another_question_or_none(at: int, mask: int) -> None:
    der = bytearray(ask(nonce=b"n" * 16))
    der[at % len(der)] ^= mask
    try:
        parse_status_request(bytes(der))
    except PkiError as error:
        assert error.code == "status-request-malformed"  # every other error is a defect


def test_one_certificate_at_a_time(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(HIERARCHY.device_ca.certificate)
    command = ["openssl", "ocsp", "-issuer", "ca.pem", "-serial", "5", "-serial", "6", "-reqout", "two"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    for der in ((tmp_path / "two").read_bytes(), ask() + b"\0", ask() + bytes(LIMIT)):
        with pytest.raises(StatusRequestMalformed):
            parse_status_request(der)


def test_an_answer_is_read_back_before_it_leaves() -> None:
    with pytest.raises(AssemblyFailed):
        assemble_response(b"0\x00", find_algorithm(KEY.public_key), KEY.sign(b""), RESPONDER)
