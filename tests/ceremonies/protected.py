"""A world whose policy demands hardware: makers, units with secure elements, units with TPMs."""

import asyncio
from pathlib import Path
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from ceremonies import commands
from ceremonies.commands import DeviceIssued, IssueDevice, Problem, TpmActivated, TpmChallenged
from ceremonies.fleet import DeviceClass, Makers
from pki.elements.areas import DEMANDED, read_area
from pki.elements.credentials import Credential
from tests.ceremonies.field import upload
from tests.makers import Foundry, Maker, endorse, make_key, write_area
from tests.pki.elements.opening import open_credential
from tests.postgres import Database
from tests.world import FLEET, PLANT, World, make_request, soft_world

FOUNDRY: Final = Foundry()
TPM_ROOT: Final = Maker("TPM Root")
EK_CA: Final = Maker("TPM EK CA", TPM_ROOT)
ELEMENT, TPM = "bms-element", "bms-tpm"
GOOD: Final = sum(1 << bit for bit in DEMANDED)
"""The attributes of a key that stays in its TPM."""
ORDERS: Final = {ELEMENT: "wo-element", TPM: "wo-tpm"}


def make_protected(path: Path, *more: str, database: Database | None = None) -> World:
    """A world that was not started. more: further roots of TPMs, PEM."""
    world = soft_world(path, database)
    hardware = FLEET.classes[0].hardware
    demanding = (
        DeviceClass(ELEMENT, hardware, key_protection="secure-element"),
        DeviceClass(TPM, hardware, key_protection="tpm"),
    )
    makers = Makers((FOUNDRY.signer_pem,), (FOUNDRY.root.pem,), (TPM_ROOT.pem, *more))
    fleet = msgspec.structs.replace(FLEET, classes=(*FLEET.classes, *demanding), makers=makers)
    world.policy = msgspec.structs.replace(world.policy, fleet=fleet)
    return world


async def prepare_protected(world: World) -> None:
    """Genesis, and a work order for each class."""
    await world.genesis()
    for class_name, order in ORDERS.items():
        await world.open_order(order, class_name=class_name)
    await world.open_order("wo-1")


def station(world: World, class_name: str, name: str = "station-1") -> str:
    """The token of a station that works on a class."""
    return world.token("station", sub=name, plant=PLANT, **{"class": class_name})


def serial_of(number: int) -> str:
    """A serial of every order."""
    return f"BMS-{number:06}"


async def ask(world: World, class_name: str, number: int, key: ec.EllipticCurvePrivateKey) -> Any:
    """What a unit of a class gets for its key."""
    command = IssueDevice(ORDERS[class_name], serial_of(number), make_request(key))
    return await world.try_ask(command, token=station(world, class_name))


def code_of(answer: object) -> str:
    """The code of a refusal; empty for a certificate."""
    assert isinstance(answer, DeviceIssued | Problem), answer
    return answer.code if isinstance(answer, Problem) else ""


async def import_elements(world: World, name: str, manifest: bytes) -> None:
    """The ceremony that imports a manifest."""
    plan = {"file": await upload(world, manifest), "reason": "delivery"}
    await world.ceremony(name, "elements-import", plan)


class Chip:
    """A TPM, and the device key that it made. Soft: what a real one does is shown by tests/interop."""

    def __init__(self, maker: Maker = EK_CA) -> None:
        self.endorsement_key = make_key()
        self.endorsement = endorse(maker, self.endorsement_key.public_key())
        self.make_key()

    def make_key(self, attributes: int = GOOD) -> None:
        """Another device key."""
        self.key = make_key()
        self.area = write_area(self.key, attributes)

    def request(self, number: int, order: str = ORDERS[TPM], **changed: Any) -> commands.ChallengeTpm:
        """Its request for a challenge."""
        fields: dict[str, Any] = {"endorsement": self.endorsement, "area": self.area, "chain": (EK_CA.der,), **changed}
        return commands.ChallengeTpm(order, serial_of(number), **fields)

    def answer(self, number: int, given: TpmChallenged, order: str = ORDERS[TPM]) -> commands.ActivateTpm:
        """Its answer to a challenge: a real one refuses when the Name is another key's."""
        name = read_area(self.area).name
        secret = open_credential(self.endorsement_key, Credential(given.blob, given.seed), name)
        return commands.ActivateTpm(order, serial_of(number), given.challenge, secret)

    async def challenge(self, world: World, number: int) -> TpmChallenged:
        """A challenge."""
        return await world.ask(self.request(number), "", TpmChallenged, station(world, TPM))

    async def activate(self, world: World, number: int) -> TpmActivated:
        """Have its key recorded."""
        given = await self.challenge(world, number)
        return await world.ask(self.answer(number, given), "", TpmActivated, station(world, TPM))


def run(*steps: Any) -> list[Any]:
    """Results of coroutines, one after the other."""

    async def play() -> list[Any]:
        return [await step for step in steps]

    return asyncio.run(play())
