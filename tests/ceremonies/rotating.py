"""What tests of the rotation of CAs share: ceremonies held, units issued, chains judged by openssl."""

import asyncio
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryptography import x509

from ceremonies import commands
from ceremonies.commands import CeremonyShown, DeviceIssued, IssueDevice
from tests.ceremonies.revoking import openssl, turn
from tests.world import World, make_request

TOKEN = "kedge-main"


def rotation(label: str = "device-ca-2", replaces: str = "device-ca", **changes: Any) -> dict[str, Any]:
    """The plan of `ca-rotate`."""
    plan = {"label": label, "replaces": replaces, "token": TOKEN, "days": 2000, "reason": "its time is over"}
    return plan | changes


async def rotate(
    world: World, label: str = "device-ca-2", replaces: str = "device-ca", **changes: Any
) -> CeremonyShown:
    """A new generation, pending."""
    return await world.ceremony(f"rotate-{label}", "ca-rotate", rotation(label, replaces, **changes))


async def switch(world: World, label: str = "device-ca-2") -> CeremonyShown:
    """From here on this generation issues."""
    return await world.ceremony(f"switch-{label}", "ca-switch", {"label": label, "reason": "verifiers know it"})


def succeed(world: World, label: str = "device-ca-2", replaces: str = "device-ca", **changes: Any) -> None:
    """A new generation that issues."""
    asyncio.run(rotate(world, label, replaces, **changes))
    turn(world)
    asyncio.run(switch(world, label))


def issue(world: World, number: int, csr: bytes = b"", order: str = "wo-1") -> DeviceIssued:
    """A unit's certificate."""
    command = IssueDevice(order, f"BMS-{number:06}", csr or make_request())
    return asyncio.run(world.ask(command, "station", DeviceIssued))


def issuer_of(certificate: bytes) -> str:
    """The CN of who signed it."""
    issuer = x509.load_pem_x509_certificate(certificate).issuer
    return str(issuer.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value)


def list_certificates(world: World) -> dict[str, bytes]:
    """The certificates of CAs and the links, by label."""
    listed = asyncio.run(world.ask(commands.ListCertificates(), "", commands.DocumentsListed))
    return {name: pem for name, _, pem in listed.documents}


def verify(folder: Path, leaf: bytes, root: bytes, between: Sequence[bytes], *more: str) -> str:
    """What `openssl verify` says for somebody who trusts this root alone; empty when it accepts."""
    for name, data in (("leaf", leaf), ("root", root), ("between", b"".join(between))):
        (folder / f"{name}.pem").write_bytes(data)
    files = ("-CAfile", "root.pem", "-untrusted", "between.pem", "leaf.pem")
    done = openssl("verify", "-x509_strict", *more, *files, cwd=folder)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def sha256(data: bytes) -> str:
    """Lowercase hex."""
    return hashlib.sha256(data).hexdigest()
