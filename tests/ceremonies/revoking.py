"""What tests of revocation share: a world whose clock is told, certificates, lists read by openssl, OCSP questions."""

import asyncio
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from ceremonies import commands
from ceremonies.crls import Crls
from ceremonies.fleet import Fleet, Revocation
from tests.world import FLEET, World, copy_world, issue_device, make_request

PARTITIONED: Fleet = msgspec.structs.replace(FLEET, revocation=Revocation("http://crl.example:8080/pki", 48))


class Watch:
    """A clock that can be set forward."""

    def __init__(self, world: World) -> None:
        self.ahead_us = 0
        self._now_us = world.around.now_us
        world.around = msgspec.structs.replace(world.around, now_us=self.read)

    def read(self) -> int:
        """Microseconds since 1970."""
        return self._now_us() + self.ahead_us

    def go_on(self, seconds: int) -> None:
        """Let time pass."""
        self.ahead_us += seconds * 1_000_000


def open_copy(template: World, path: Path) -> tuple[World, Watch]:
    """A started copy of a world, with a clock that can be set forward."""
    world = copy_world(template, path)
    watch = Watch(world)
    return world.start(), watch


def issue(world: World, *numbers: int) -> list[x509.Certificate]:
    """Certificates for these serials."""

    async def run() -> list[commands.DeviceIssued]:
        return [await issue_device(world, number, make_request()) for number in numbers]

    return [x509.load_pem_x509_certificate(item.certificate) for item in asyncio.run(run())]


def revoke(world: World, serial: str = "", **fields: Any) -> commands.CertificateShown:
    """Revoke one, as an officer."""
    command = commands.RevokeCertificate(serial, **{"reason": "keyCompromise", "why": "stolen", **fields})
    return asyncio.run(world.ask(command, "officer", commands.CertificateShown))


def list_lists(world: World) -> dict[str, commands.RevocationListShown]:
    """The newest lists by their path."""
    listed = asyncio.run(world.ask(commands.ListRevocations(), "", commands.RevocationsListed))
    return {item.path: item for item in listed.lists}


def turn(world: World) -> Crls:
    """One turn of the chore, by a chore that just began."""
    crls = Crls(world.room)
    asyncio.run(crls.turn())
    return crls


def read_list(world: World, path: str) -> x509.CertificateRevocationList:
    """A published list."""
    return x509.load_der_x509_crl((world.path / "public" / path).read_bytes())


def openssl(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run openssl."""
    command = ["openssl", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=30)


async def make_responder(world: World, label: str = "ocsp-1", replaces: str | None = None, days: int = 30) -> None:
    """Hold the ceremony that makes a responder of the device CA."""
    plan = {"label": label, "ca": "device-ca", "token": "kedge-main", "days": days}
    more = {"replaces": replaces} if replaces else {}
    await world.ceremony(f"make-{label}", "ocsp-responder", plan | more)


def authority(world: World, label: str) -> x509.Certificate:
    """The certificate of a CA."""
    listed = asyncio.run(world.ask(commands.ListCertificates(), "", commands.DocumentsListed))
    return next(x509.load_pem_x509_certificate(pem) for name, _, pem in listed.documents if name == label)


def question(certificate: x509.Certificate, issuer: x509.Certificate, nonce: bytes = b"") -> bytes:
    """An OCSP request by cryptography."""
    builder = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, hashes.SHA256())
    if nonce:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    return builder.build().public_bytes(Encoding.DER)


def ask_status(world: World, request: bytes) -> ocsp.OCSPResponse:
    """The answer to an OCSP request."""
    answer = asyncio.run(world.ask(commands.AskStatus(request), "", commands.StatusAnswered))
    return ocsp.load_der_ocsp_response(answer.response)


def now() -> datetime:
    """The time."""
    return datetime.now(UTC)
