"""Units with keys, requests and certificates; and a service that says what it is told."""

import datetime
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from api.cli.device import Device
from api.cli.files import Proven
from api.cli.provisioning.records import Queued
from pki.x509.confirmations import confirmed_bytes, hash_chain
from tests.world import make_request

NONCE = "ab" * 32
CHAIN = "-----BEGIN CERTIFICATE-----\nchain\n-----END CERTIFICATE-----\n"


class Unit:
    """A unit and its certificate, which it signed itself: nobody here looks at who did."""

    def __init__(self, serial: str) -> None:
        self.serial = serial
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.csr = make_request(self.key)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, serial)])
        start = datetime.datetime(2026, 11, 23, tzinfo=datetime.UTC)
        builder = x509.CertificateBuilder(name, name, self.key.public_key(), 7, start, start.replace(year=2046))
        self.certificate = builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()

    @property
    def device(self) -> Device:
        """What the service answers."""
        proven = Proven(417, '{"seq":417}', "c2sp.org/tlog-proof@v1\n")
        return Device(self.serial, self.certificate, CHAIN, "01", False, proven, None, None, NONCE)

    @property
    def chain_sha256(self) -> str:
        """What is read back."""
        return hash_chain(self.certificate.encode(), CHAIN.encode())

    def sign(self) -> bytes:
        """Its signature for the confirmation."""
        return self.key.sign(confirmed_bytes(bytes.fromhex(NONCE), self.chain_sha256), ec.ECDSA(hashes.SHA256()))

    def request(self, out: object, order: str = "wo-1", n: int = 0) -> Queued:
        """A request for its certificate."""
        return Queued("issue", order, self.serial, str(out), 1_795_435_200, n, csr=self.csr)


def problem(code: str, status: int) -> dict[str, Any]:
    """A refusal as the API words it."""
    return {"code": code, "detail": f"{code} it is", "hint": "do something", "status": status, "type": "tag:x"}


Reply = Callable[[list[dict[str, Any]]], httpx.Response]


class Scripted:
    """A session that answers each request with the next reply; `asked`: the serials of each."""

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies)
        self.asked: list[list[str]] = []
        self.paths: list[str] = []

    def send(self, method: str, path: str, *, also: Sequence[int] = (), **arguments: Any) -> httpx.Response:
        """As told."""
        body = msgspec.json.decode(arguments["content"])
        items = body.get("requests") or body["confirmations"]
        self.asked.append([item["serial"] for item in items])
        self.paths.append(path)
        return self.replies.pop(0)(items)


def answering(*units: Unit, **instead: object) -> Reply:
    """Every unit its certificate, but for those that get something else."""
    known = {unit.serial: unit for unit in units}

    def reply(items: list[dict[str, Any]]) -> httpx.Response:
        results = [instead.get(item["serial"].replace("-", "_")) or known[item["serial"]].device for item in items]
        return httpx.Response(200, content=msgspec.json.encode({"results": results}))

    return reply


def failing(status: int, code: str = "", **headers: str) -> Reply:
    """The whole call refused."""
    content = msgspec.json.encode(problem(code, status)) if code else b"<html>proxy</html>"
    return lambda _: httpx.Response(status, content=content, headers=headers)
