"""EST as its clients see it: base64, media types, certs-only answers, and what is refused."""

import base64

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from ceremonies import commands
from tests.api.answers import CERTIFICATES
from tests.api.conftest import Served
from tests.api.est_requests import make_est_request
from tests.api.peer import Peer
from tests.pki.x509.soft_keys import make_key
from tests.pki.x509.soft_roots import make_next_device_ca, make_roots

EST = "/.well-known/est"
PKCS10 = {"Content-Type": "application/pkcs10"}


def read_certificates(body: bytes) -> list[bytes]:
    certificates = pkcs7.load_der_pkcs7_certificates(base64.b64decode(body))
    return [certificate.public_bytes(Encoding.PEM) for certificate in certificates]


@pytest.mark.req("CA-11")
@pytest.mark.usefixtures("peer")
def test_cacerts_are_the_ca_and_what_it_leads_to(served: Served) -> None:
    response = served.http.get(f"{EST}/device-ca/cacerts")
    assert response.headers["Content-Type"] == "application/pkcs7-mime; smime-type=certs-only"
    assert max(map(len, response.content.splitlines())) == 76
    assert set(read_certificates(response.content)) == {CERTIFICATES["device-ca"], CERTIFICATES["identity-root"]}
    assert len(read_certificates(served.http.get(f"{EST}/identity-root/cacerts").content)) == 1
    unknown = served.http.get(f"{EST}/vpn/cacerts")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "nothing-there")


@pytest.mark.req("CA-11", "RO-2")
@pytest.mark.parametrize("label", ["device-ca", "device-ca-2"])
def test_cacerts_of_a_ca_with_two_generations_have_both_with_their_roots_and_links(
    served: Served, peer: Peer, label: str
) -> None:
    roots = make_roots()
    known = {
        "device-ca": roots.first.device_ca.certificate,
        "device-ca-2": make_next_device_ca(roots, make_key()).certificate,
        "identity-root": roots.first.root.certificate,
        "identity-root-2": roots.new.certificate,
        "identity-root-2@identity-root": roots.new_with_old,
        "identity-root@identity-root-2": roots.old_with_new,
        "site-ca": roots.first.site_ca.certificate,
    }
    listed = commands.DocumentsListed(tuple((name, "cc" * 32, pem) for name, pem in known.items()))
    peer.replies[commands.ListCertificates] = listed
    found = read_certificates(served.http.get(f"{EST}/{label}/cacerts").content)
    assert sorted(found) == sorted(pem for name, pem in known.items() if name != "site-ca")
    assert peer.asked[-1].command == commands.ListCertificates(recommended=True), "clients shall believe them"
    assert served.http.get(f"{EST}/identity-root@identity-root-2/cacerts").status_code == 422


@pytest.mark.req("CA-11")
@pytest.mark.usefixtures("peer")
def test_csrattrs_ask_for_p256_and_sha256(served: Served) -> None:
    response = served.http.get(f"{EST}/device-ca/csrattrs")
    assert response.headers["Content-Type"] == "application/csrattrs"
    curve, algorithm = "06082a8648ce3d030107", "06082a8648ce3d040302"
    expected = f"3021301506072a8648ce3d0201310a{curve}{algorithm}"
    assert base64.b64decode(response.content).hex() == expected


@pytest.mark.req("CA-11")
@pytest.mark.parametrize("verb", ["simpleenroll", "simplereenroll"])
def test_enrolment_answers_the_certificate_alone(served: Served, peer: Peer, bearer: dict[str, str], verb: str) -> None:
    der = make_est_request("BMS-000001")
    text = base64.encodebytes(der).replace(b"\n", b"\r\n")
    response = served.http.post(f"{EST}/device-ca/{verb}", content=text, headers=bearer | PKCS10)
    assert response.status_code == 200, response.text
    assert response.headers["Content-Type"] == "application/pkcs7-mime; smime-type=certs-only"
    assert read_certificates(response.content) == [CERTIFICATES["idevid"]]
    assert [request.command for request in peer.asked] == [commands.EnrolDevice("device-ca", "BMS-000001", der)]


@pytest.mark.req("CA-11", "T16", "T19")
@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"MIIB", {"Content-Type": "text/plain"}, 415, "media-type-unsupported"),
        (b"MIIB", {}, 415, "media-type-unsupported"),
        (b"", PKCS10, 400, "body-missing"),
        (b"%%%%", PKCS10, 400, "request-unreadable"),
        (b"MIIB", PKCS10, 400, "request-unreadable"),
        (b"A" * 40_000, PKCS10, 413, "body-too-large"),
        (base64.b64encode(make_est_request()), PKCS10, 400, "request-unreadable"),
        (base64.b64encode(make_est_request("A", "B")), PKCS10, 400, "request-unreadable"),
        (base64.b64encode(make_est_request("../etc")), PKCS10, 400, "request-unreadable"),
        (make_est_request("BMS-000001"), PKCS10, 400, "request-unreadable"),
    ],
)
def test_garbage_gets_a_problem(
    served: Served, peer: Peer, bearer: dict[str, str], body: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    response = served.http.post(f"{EST}/device-ca/simpleenroll", content=body, headers=bearer | headers)
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert peer.asked == []


@pytest.mark.req("CA-11")
def test_a_device_that_must_wait_is_told_how_long(served: Served, peer: Peer, bearer: dict[str, str]) -> None:
    """RFC 7030 section 4.2.3."""
    waiting = commands.Problem("enrolment-pending", "BMS-000001 is shipped", "send it again", {"retry_after": 600})
    peer.replies = {commands.EnrolDevice: waiting}
    body = base64.b64encode(make_est_request("BMS-000001"))
    response = served.http.post(f"{EST}/site-ca/simpleenroll", content=body, headers=bearer | PKCS10)
    assert (response.status_code, response.headers["Retry-After"]) == (202, "600")
    assert response.json()["code"] == "enrolment-pending"


@pytest.mark.req("AZ-5")
def test_who_is_nobody_is_told_so(served: Served, peer: Peer) -> None:
    body = base64.b64encode(make_est_request("BMS-000001"))
    response = served.http.post(f"{EST}/device-ca/simpleenroll", content=body, headers=PKCS10)
    assert response.status_code == 401
    assert peer.asked == []


def test_vectors_are_certificates() -> None:
    assert {x509.load_pem_x509_certificate(pem).version for pem in CERTIFICATES.values()} == {x509.Version.v3}
