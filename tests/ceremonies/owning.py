"""Devices of owners: confirmed, installed at the site of the CA `site-ca`, asking for LDevIDs with a certificate."""

from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from ceremonies.commands import (
    AnyResult,
    Decommission,
    DeviceIssued,
    EnrolDevice,
    Install,
    KeysListed,
    Problem,
    Request,
    Return,
    Ship,
    SuspendKey,
)
from tests.ceremonies.fielded import say_all
from tests.ceremonies.lines import Unit
from tests.ceremonies.revoking import Watch
from tests.world import PLANT, SITE, World, make_request

OWNED = "graz-1"
"""The site that the CA of genesis is for."""


def operator(world: World) -> str:
    """A token of the operator of two sites."""
    return world.token("operator", plant=PLANT, site=[OWNED, SITE])


async def place(world: World, *serials: str, site: str = OWNED) -> None:
    """Ship and install devices."""
    statements = [item for serial in serials for item in (Ship(serial), Install(serial, "north-power", site))]
    await say_all(world, *statements, token=operator(world))


async def make_owned(world: World, number: int = 1, site: str = OWNED) -> Unit:
    """A device that was confirmed and installed."""
    unit = Unit(number)
    await unit.issue(world)
    await unit.confirm(world)
    await place(world, unit.serial, site=site)
    return unit


def der_of(issued: DeviceIssued) -> bytes:
    """What a device shows as its client certificate."""
    return x509.load_pem_x509_certificate(issued.certificate).public_bytes(Encoding.DER)


class Owner:
    """A device that asks for LDevIDs: by its IDevID, or by what it shows instead."""

    def __init__(self, world: World, unit: Unit, watch: Watch) -> None:
        self.world, self.unit, self.watch = world, unit, watch
        self.key = ec.generate_private_key(ec.SECP256R1())

    async def ask(self, csr: bytes = b"", shown: bytes = b"", **changed: Any) -> AnyResult | Problem:
        """The desk's answer."""
        serial, label = changed.get("serial", self.unit.serial), changed.get("authority", "site-ca")
        command = EnrolDevice(label, serial, csr or make_request(self.key))
        request = Request(1, command, "", "192.0.2.9", shown or der_of(self.unit.held))
        return await self.world.desk.answer(request, local=False)

    async def enrol(self, csr: bytes = b"", shown: bytes = b"", **changed: Any) -> DeviceIssued:
        """An LDevID."""
        answer = await self.ask(csr, shown, **changed)
        assert isinstance(answer, DeviceIssued), answer
        return answer


async def make_site_ca(world: World, label: str, site: str = OWNED) -> None:
    """Hold the ceremony that makes a CA of a site."""
    plan = {"label": label, "token": "kedge-main", "site": site, "name": f"Acme {label}", "days": 3000}
    await world.ceremony(f"make-{label}", "site-ca", plan)


async def decommission(world: World, serial: str) -> None:
    """Take a device out of service for good."""
    await say_all(world, Decommission(serial, "scrap"), token=operator(world))


async def send_back(world: World, serial: str) -> None:
    """Send a device back to its plant."""
    await say_all(world, Return(serial, "fan"), token=operator(world))


async def suspend(world: World, label: str) -> None:
    """Stop a CA's key."""
    await world.ask(SuspendKey(label, "a drill"), "officer", KeysListed)
