"""Fetching issuers' keys from a real TLS server on this machine: pinned, bounded, cached, and never redirected."""

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ceremonies import jwks
from ceremonies.errors import JwksUnavailable
from ceremonies.jwks import MIN_INTERVAL, REFRESH_AFTER, STALE_AFTER, JwksCache, fetch_jwks
from ceremonies.policy import Issuer, KeysInline, KeysUrl, Policy
from ceremonies.remembered import Remembered
from ceremonies.tokens import TokenKeyUnknown, verify_token
from tests.ceremonies.issuer_keys import AUDIENCE, FLEET, ISSUER, NOW, make_signer
from tests.ceremonies.test_tokens import PIPELINE
from tests.world import make_policy

FIRST, SECOND = make_signer("ES256", "k1"), make_signer("ES256", "k2")


def document(*signers: Any) -> bytes:
    return json.dumps({"keys": [signer.jwk for signer in signers]}).encode()


def http(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


@dataclass
class Authority:
    """A CA and the server certificate that it gave to `host`."""

    host: str
    folder: Path
    pem: str = ""
    context: ssl.SSLContext = field(default_factory=lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))

    def __post_init__(self) -> None:
        keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
        names = [x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)]) for text in ("test CA", self.host)]
        start = datetime.now(UTC) - timedelta(days=1)
        pems = []
        for index in range(2):
            host: x509.GeneralName = x509.DNSName(self.host)
            if self.host[0].isdigit():
                host = x509.IPAddress(ip_address(self.host))
            certificate = (
                x509.CertificateBuilder()
                .subject_name(names[index])
                .issuer_name(names[0])
                .public_key(keys[index].public_key())
                .serial_number(index + 1)
                .not_valid_before(start)
                .not_valid_after(start + timedelta(days=3))
                .add_extension(x509.BasicConstraints(ca=index == 0, path_length=None), critical=True)
                .add_extension(x509.SubjectAlternativeName([host]), critical=False)
                .sign(keys[0], hashes.SHA256())
            )
            pems.append(certificate.public_bytes(serialization.Encoding.PEM))
        key = keys[1].private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        file = self.folder / "server.pem"
        file.write_bytes(key + pems[1])
        self.context.load_cert_chain(file)
        self.pem = pems[0].decode()


@dataclass
class Server:
    """Answers every request with `answer` and counts connections; `requests` are what clients sent."""

    authority: Authority
    answer: bytes = b""
    delay: float = 0
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)
    port: int = 0

    def location(self, **changes: Any) -> KeysUrl:
        host = self.authority.host
        members = {"url": f"https://{host}:{self.port}/jwks?x=1", "host": host, "ca_pem": self.authority.pem}
        return KeysUrl(**{**members, "private": True, **changes})

    def issuer(self) -> Issuer:
        return Issuer(ISSUER, AUDIENCE, ("ES256",), 300, self.location(), (PIPELINE,))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            self.requests.append(await reader.readuntil(b"\r\n\r\n"))
            await asyncio.sleep(self.delay)
            writer.write(self.answer)
            await writer.drain()
            writer.close()
            await writer.wait_closed()
        except (ConnectionError, ssl.SSLError, asyncio.IncompleteReadError):
            return


def run(tmp_path: Path, use: Callable[[Server], Awaitable[None]], host: str = "localhost") -> None:
    """Run `use` beside a server for `host`."""

    async def both() -> None:
        server = Server(Authority(host, tmp_path), http(document(FIRST)))
        listener = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=server.authority.context)
        server.port = listener.sockets[0].getsockname()[1]
        async with listener:
            await use(server)

    asyncio.run(both())


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_document_is_fetched_from_the_location_of_the_policy(tmp_path: Path, host: str) -> None:
    async def use(server: Server) -> None:
        assert await fetch_jwks(server.location()) == document(FIRST)
        head = server.requests[0].decode().lower()
        assert head.startswith("get /jwks?x=1 http/1.1")
        assert f"host: {host}:{server.port}\r\n" in head
        assert "accept-encoding: identity" in head

    run(tmp_path, use, host)


@pytest.mark.req("AZ-6", "T22")
@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (http(b"", "302 Found", "Location: https://localhost:1/other"), "answered 302"),
        (http(b"", "307 Temporary Redirect", "Location: http://169.254.169.254/"), "answered 307"),
        (http(document(FIRST), "404 Not Found"), "answered 404"),
        (http(document(FIRST), "206 Partial Content"), "answered 206"),
        (http(b"x", "200 OK", "Content-Encoding: gzip"), "plain 200"),
        (http(b" " * 70_000), "more than 65536 bytes"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 70_000, "more than 65536 bytes"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nx", "could not be fetched"),
        (b"SSH-2.0-OpenSSH\r\n", "could not be fetched"),
        (b"", "could not be fetched"),
    ],
)
def test_answers_that_are_refused(tmp_path: Path, answer: bytes, why: str) -> None:
    async def use(server: Server) -> None:
        server.answer = answer
        with pytest.raises(JwksUnavailable, match=why):
            await fetch_jwks(server.location())
        assert server.connections == 1

    run(tmp_path, use)


@pytest.mark.req("AZ-6", "T22")
def test_another_authority_or_another_name_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()

    async def use(server: Server) -> None:
        for location in (
            server.location(ca_pem=Authority("localhost", other).pem),
            server.location(ca_pem="-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
            server.location(url=f"https://127.0.0.1:{server.port}/jwks", host="127.0.0.1"),
        ):
            with pytest.raises(JwksUnavailable, match="could not be fetched"):
                await fetch_jwks(location)
        assert server.requests == []

    run(tmp_path, use)


@pytest.mark.req("T22")
def test_a_host_in_the_own_network_is_refused_unless_the_policy_says_so(tmp_path: Path) -> None:
    async def use(server: Server) -> None:
        with pytest.raises(JwksUnavailable, match="not a public address"):
            await fetch_jwks(server.location(private=False))
        assert server.connections == 0

    run(tmp_path, use)


@pytest.mark.req("T22")
@pytest.mark.parametrize("private", [True, False])
@pytest.mark.parametrize(
    "address", ["169.254.169.254", "0.0.0.0", "224.0.0.1", "[fe80::1]", "[::ffff:169.254.169.254]"]
)
def test_link_local_and_the_like_are_refused_even_then(address: str, private: bool) -> None:
    host = address.strip("[]")
    location = KeysUrl(f"https://{address}/jwks", host, "-----BEGIN CERTIFICATE-----", private)
    with pytest.raises(JwksUnavailable, match="not a public address"):
        asyncio.run(fetch_jwks(location))


@pytest.mark.req("T22")
@pytest.mark.parametrize(
    "address", ["10.0.0.1", "192.168.1.1", "172.16.0.1", "127.0.0.1", "[::1]", "[fd00::1]", "100.64.0.1"]
)
def test_private_addresses_are_refused_by_default(address: str) -> None:
    location = KeysUrl(f"https://{address}/jwks", address.strip("[]"), "-----BEGIN CERTIFICATE-----")
    with pytest.raises(JwksUnavailable, match="not a public address"):
        asyncio.run(fetch_jwks(location))


@pytest.mark.req("T22")
def test_a_name_with_one_address_in_the_own_network_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def use(server: Server) -> None:
        async def rebind(*_: object, **__: object) -> list[tuple[object, ...]]:
            return [(2, 1, 6, "", ("93.184.215.14", server.port)), (2, 1, 6, "", ("127.0.0.1", server.port))]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", rebind)
        with pytest.raises(JwksUnavailable, match="resolves to"):
            await fetch_jwks(server.location(private=False))
        assert server.connections == 0

    run(tmp_path, use)


@pytest.mark.req("AZ-6", "T22")
def test_a_slow_server_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwks, "FETCH_SECONDS", 0.2)

    async def use(server: Server) -> None:
        server.delay = 1
        with pytest.raises(JwksUnavailable):
            await fetch_jwks(server.location())

    run(tmp_path, use)


def test_a_name_that_does_not_resolve_is_unavailable() -> None:
    location = KeysUrl("https://issuer.invalid/jwks", "issuer.invalid", "-----BEGIN CERTIFICATE-----")
    with pytest.raises(JwksUnavailable):
        asyncio.run(fetch_jwks(location))


def test_proxies_of_the_environment_are_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    async def use(server: Server) -> None:
        assert await fetch_jwks(server.location()) == document(FIRST)

    run(tmp_path, use)


@pytest.mark.req("AZ-6")
def test_tokens_verify_with_fetched_keys_and_a_new_key_is_found(tmp_path: Path) -> None:
    async def use(server: Server) -> None:
        issuer, cache = server.issuer(), JwksCache()
        policy = Policy(quorums={}, fleet=FLEET, issuers=(issuer,))
        with pytest.raises(JwksUnavailable, match="not fetched yet"):
            verify_token(FIRST.issue(), policy, NOW, cache)
        await cache.refresh(issuer, NOW)
        assert verify_token(FIRST.issue(), policy, NOW, cache).role == "pipeline"

        server.answer = http(document(SECOND))
        with pytest.raises(TokenKeyUnknown):
            verify_token(SECOND.issue(), policy, NOW, cache)
        await cache.refresh(issuer, NOW + MIN_INTERVAL, key_unknown=True)
        assert verify_token(SECOND.issue(), policy, NOW, cache).role == "pipeline"
        # A key that the issuer withdrew is gone.
        with pytest.raises(TokenKeyUnknown):
            verify_token(FIRST.issue(), policy, NOW, cache)

    run(tmp_path, use)


@pytest.mark.req("AZ-6", "T22")
def test_unknown_kids_cannot_make_the_keyroom_fetch_often(tmp_path: Path) -> None:
    async def use(server: Server) -> None:
        issuer, cache = server.issuer(), JwksCache()
        for second in range(0, 60, 5):
            await cache.refresh(issuer, NOW + timedelta(seconds=second), key_unknown=True)
        assert server.connections == 2
        await asyncio.gather(*(cache.refresh(issuer, NOW + timedelta(minutes=2), key_unknown=True) for _ in range(20)))
        assert server.connections == 3

    run(tmp_path, use)


@pytest.mark.req("AZ-6", "T23")
def test_a_key_that_its_issuer_withdrew_counts_five_minutes_at_most(tmp_path: Path) -> None:
    """Though nobody shows a token of the new one, which would have the keys fetched."""

    async def use(server: Server) -> None:
        issuer, cache = server.issuer(), JwksCache()
        policy = Policy(quorums={}, fleet=FLEET, issuers=(issuer, make_policy(FIRST.jwk).issuers[0]))
        tokens, shown = Remembered(cache), FIRST.issue()
        await cache.renew(policy.issuers, NOW)
        assert server.connections == 0, "what no token has asked for is not fetched"
        await cache.refresh(issuer, NOW)
        tokens.verify(shown, policy, NOW)
        server.answer = http(document(SECOND))
        await cache.renew(policy.issuers, NOW + REFRESH_AFTER - timedelta(seconds=1))
        tokens.verify(shown, policy, NOW)
        await cache.renew(policy.issuers, NOW + REFRESH_AFTER)
        with pytest.raises(TokenKeyUnknown):
            tokens.verify(shown, policy, NOW)

    run(tmp_path, use)


def test_keys_are_renewed_kept_through_an_outage_and_dropped_when_stale(tmp_path: Path) -> None:
    async def use(server: Server) -> None:
        issuer, cache = server.issuer(), JwksCache()
        await cache.refresh(issuer, NOW)
        await cache.refresh(issuer, NOW + REFRESH_AFTER - timedelta(seconds=1))
        assert server.connections == 1
        await cache.refresh(issuer, NOW + REFRESH_AFTER)
        assert server.connections == 2

        server.answer = http(b"{}")
        await cache.refresh(issuer, NOW + 2 * REFRESH_AFTER)
        last = NOW + REFRESH_AFTER + STALE_AFTER
        assert set(cache.keys(issuer, last)) == {"k1"}
        with pytest.raises(JwksUnavailable, match="no list of at most"):
            cache.keys(issuer, last + timedelta(seconds=1))

    run(tmp_path, use)


@pytest.mark.req("T22")
def test_a_location_that_the_policy_changed_is_fetched_anew(tmp_path: Path) -> None:
    async def use(server: Server) -> None:
        issuer, cache = server.issuer(), JwksCache()
        await cache.refresh(issuer, NOW)
        moved = Issuer(ISSUER, AUDIENCE, ("ES256",), 300, server.location(private=False), (PIPELINE,))
        with pytest.raises(JwksUnavailable, match="not fetched yet"):
            cache.keys(moved, NOW)

    run(tmp_path, use)


def test_inline_keys_need_no_fetch() -> None:
    issuer = Issuer(ISSUER, AUDIENCE, ("ES256",), 300, KeysInline((FIRST.jwk,)), (PIPELINE,))
    cache = JwksCache()
    asyncio.run(cache.refresh(issuer, NOW))
    assert set(cache.keys(issuer, NOW)) == {"k1"}
