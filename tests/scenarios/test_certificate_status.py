"""Revocation as relying parties meet it: `openssl ocsp` and curl-like GET against the API, lists over HTTP."""

import asyncio
import base64
import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from api.settings import ApiSettings
from ceremonies.commands import Answer
from ceremonies.frames import REQUEST_LIMIT, decode_request, encode_frame, read_frame
from tests.api.conftest import serving
from tests.api.peer import Peer, listening
from tests.ceremonies.revoking import authority, issue, make_responder, question, revoke, turn
from tests.world import World, copy_world


class DeskPeer(Peer):
    """A real desk behind the socket."""

    def __init__(self, socket: Path, world: World) -> None:
        super().__init__(socket)
        self.world = world

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            while (body := await read_frame(reader, REQUEST_LIMIT)) is not None:
                request = decode_request(body)
                result = await self.world.desk.answer(request, local=False)
                writer.write(encode_frame(Answer(request.id, result)))
                await writer.drain()
        writer.close()


@pytest.fixture
def site(factory_template: World, tmp_path: Path) -> Iterator[tuple[World, httpx.Client, str]]:
    """A keyroom with a responder, its API, and a client."""
    world = copy_world(factory_template, tmp_path / "world").start()
    asyncio.run(make_responder(world))
    settings = ApiSettings(socket=tmp_path / "s.sock", public_dir=world.path / "public")
    with listening(DeskPeer(settings.socket, world)), serving(settings) as served:
        yield world, served.http, served.url
    world.stop()


def ask_openssl(path: Path, url: str, *what: str) -> str:
    """What `openssl ocsp` says, after it verified the answer and its nonce."""
    command = ["openssl", "ocsp", "-issuer", "ca.pem", *what, "-url", f"{url}/ocsp", "-CAfile", "root.pem"]
    done = subprocess.run(command, cwd=path, capture_output=True, text=True, check=False, timeout=30)
    assert "Response verify OK" in done.stderr, done.stdout + done.stderr
    assert "nonce" not in done.stderr.lower(), done.stderr
    return done.stdout


@pytest.mark.req("CA-9")
def test_openssl_asks_and_fetches(site: tuple[World, httpx.Client, str], tmp_path: Path) -> None:
    world, http, url = site
    mine, other = issue(world, 1, 2)
    for name, certificate in (
        ("leaf", mine), ("other", other), ("ca", authority(world, "device-ca")),
        ("root", authority(world, "identity-root")),
    ):  # fmt: skip
        (tmp_path / f"{name}.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (tmp_path / "root.pem").write_bytes((tmp_path / "root.pem").read_bytes() + (tmp_path / "ca.pem").read_bytes())
    assert "leaf.pem: good" in ask_openssl(tmp_path, url, "-cert", "leaf.pem")
    assert "0x1234: unknown" in ask_openssl(tmp_path, url, "-serial", "0x1234")
    revoke(world, "BMS-000001")
    told = ask_openssl(tmp_path, url, "-sha256", "-cert", "leaf.pem")
    assert "leaf.pem: revoked" in told
    assert "Reason: keyCompromise" in told
    assert "other.pem: good" in ask_openssl(tmp_path, url, "-cert", "other.pem")
    check_get(world, http, mine)
    turn(world)
    check_lists(http, tmp_path, mine)


def check_get(world: World, http: httpx.Client, certificate: x509.Certificate) -> None:
    """GET, as RFC 6960 appendix A.1 has it: the request in base64, percent-encoded."""
    request = question(certificate, authority(world, "device-ca"))
    path = quote(base64.b64encode(request).decode(), safe="")
    answer = http.get(f"/ocsp/{path}")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/ocsp-response")
    assert answer.headers["cache-control"] == "public, max-age=60, no-transform, must-revalidate"
    assert ocsp.load_der_ocsp_response(answer.content).certificate_status is ocsp.OCSPCertStatus.REVOKED
    plain = http.get(f"/ocsp/{base64.b64encode(request).decode()}")
    assert plain.content == answer.content


def check_lists(http: httpx.Client, path: Path, revoked: x509.Certificate) -> None:
    """The list over HTTP is what `openssl verify` refuses the certificate by."""
    answer = http.get("/crl/device-ca.crl")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/pkix-crl")
    crl = x509.load_der_x509_crl(answer.content)
    assert crl.get_revoked_certificate_by_serial_number(revoked.serial_number) is not None
    (path / "crl.pem").write_bytes(crl.public_bytes(Encoding.PEM))
    for name, status in (("leaf", 2), ("other", 0)):
        command = ["openssl", "verify", "-crl_check", "-CRLfile", "crl.pem", "-CAfile", "root.pem", f"{name}.pem"]
        assert subprocess.run(command, cwd=path, capture_output=True, check=False).returncode == status
    assert http.get("/v1/crls").json()["lists"][0]["current"] is True
