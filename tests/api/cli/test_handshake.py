"""The certificate that TLS has verified arrives with each request, and no other one does."""

import json
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from api.cli.handshake import PeerProtocol
from api.peers import SCOPE
from ceremonies.tls import TlsFiles
from tests.ceremonies.authorities import CLIENT, SERVER, Authority


class Secured(NamedTuple):
    """A server that takes client certificates of one authority."""

    url: str
    authority: Authority


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answers with what the scope says of the peer."""
    assert receive
    body = json.dumps({"address": scope[SCOPE].address, "certificate": scope[SCOPE].certificate.hex()}).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    authority = Authority(tmp_path_factory.mktemp("tls"))
    files = authority.issue("localhost", SERVER)
    config = uvicorn.Config(
        echo, port=0, log_config=None, lifespan="off", http=PeerProtocol, ssl_certfile=files.certificate,
        ssl_keyfile=files.key, ssl_ca_certs=str(authority.ca), ssl_cert_reqs=ssl.CERT_OPTIONAL,
    )  # fmt: skip
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.005)
    try:
        yield Secured(f"https://localhost:{server.servers[0].sockets[0].getsockname()[1]}/", authority)
    finally:
        server.should_exit = True
        thread.join(10)


def connect(secured: Secured, shown: TlsFiles | None = None) -> httpx.Client:
    context = ssl.create_default_context(cafile=str(secured.authority.ca))
    if shown is not None:
        context.load_cert_chain(shown.certificate, shown.key)
    return httpx.Client(verify=context, base_url=secured.url)


@pytest.mark.req("AZ-4")
def test_the_certificate_arrives_with_every_request_of_its_connection(secured: Secured) -> None:
    files = secured.authority.issue("station-1", CLIENT)
    der = x509.load_pem_x509_certificate(files.certificate.read_bytes()).public_bytes(Encoding.DER)
    with connect(secured, files) as http, connect(secured) as other:
        for _ in range(2):
            assert http.get("/").json() == {"address": "127.0.0.1", "certificate": der.hex()}
            assert other.get("/").json() == {"address": "127.0.0.1", "certificate": ""}


@pytest.mark.req("AZ-4", "T25")
def test_a_certificate_of_another_authority_ends_the_connection(secured: Secured, tmp_path: Path) -> None:
    stranger = Authority(tmp_path / "stranger", "Somebody else").issue("station-1", CLIENT)
    with connect(secured, stranger) as http, pytest.raises(httpx.TransportError):
        http.get("/")
