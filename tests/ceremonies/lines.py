"""Units on a line: their keys, what they read back, how they confirm; and what stations and supervisors ask."""

from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from ceremonies import commands
from ceremonies.commands import AnyResult, ConfirmDevice, DeviceIssued, IssueDevice, Problem
from ceremonies.reckoning import check_counts, check_rows
from ceremonies.replay import replay_journal
from pki.x509.confirmations import confirmed_bytes, hash_chain
from tests.world import World, make_request


class Unit:
    """A unit of the work order `wo-1`, or of another, with its key and, once it has one, its certificate."""

    def __init__(self, number: int, order: str = "wo-1", key: ec.EllipticCurvePrivateKey | None = None) -> None:
        self.serial, self.order = f"BMS-{number:06}", order
        self.key = key or ec.generate_private_key(ec.SECP256R1())
        self.device: DeviceIssued | None = None

    @property
    def request(self) -> IssueDevice:
        """A request for its certificate."""
        return IssueDevice(self.order, self.serial, make_request(self.key))

    @property
    def held(self) -> DeviceIssued:
        """What was handed out for it."""
        assert self.device is not None
        return self.device

    async def issue(self, world: World, token: str = "") -> DeviceIssued:
        """Get its certificate."""
        self.device = await world.ask(self.request, "station", DeviceIssued, token)
        return self.device

    def confirmation(self, **changed: Any) -> ConfirmDevice:
        """Its confirmation, but for what is changed: `nonce`, `key`, `chain_sha256`, `signature`."""
        digest = changed.get("chain_sha256", hash_chain(self.held.certificate, self.held.chain))
        nonce = changed.get("nonce", bytes.fromhex(self.held.nonce))
        key: ec.EllipticCurvePrivateKey = changed.get("key", self.key)
        signature = changed.get("signature", key.sign(confirmed_bytes(nonce, digest), ec.ECDSA(SHA256())))
        return ConfirmDevice(changed.get("order", self.order), self.serial, digest, signature)

    async def confirm(self, world: World) -> commands.DeviceConfirmed:
        """Confirm."""
        return await world.ask(self.confirmation(), "station", commands.DeviceConfirmed)


def code_of(answer: AnyResult | Problem) -> str:
    """The code of a refusal; else the kind of the answer, and whether it was given before."""
    if isinstance(answer, Problem):
        return answer.code
    return "replayed" if getattr(answer, "replayed", False) else type(answer).__name__


async def make_units(world: World, numbers: range, order: str = "wo-1") -> list[Unit]:
    """Units with their certificates."""
    units = [Unit(number, order) for number in numbers]
    for unit in units:
        await unit.issue(world)
    return units


async def figures(world: World, order: str = "wo-1") -> commands.WorkOrderShown:
    """The order in figures."""
    return await world.ask(commands.ShowWorkOrder(order), "auditor", commands.WorkOrderShown)


async def close_order(world: World, order: str = "wo-1", *excused: str) -> None:
    """Close an order by ceremony."""
    plan = {"work_order": order, "excused": list(excused), "reason": "end of the batch"}
    await world.ceremony(f"close-{order}", "work-order-close", plan)


async def permit(world: World, unit: Unit, token: str = "") -> commands.ReworkPermitted:
    """A supervisor's permit for rework."""
    command = commands.PermitRework(unit.order, unit.serial, "module replaced")
    return await world.ask(command, "operator", commands.ReworkPermitted, token)


async def scrap(world: World, unit: Unit, token: str = "") -> commands.DeviceScrapped:
    """A supervisor scraps a unit."""
    command = commands.ScrapDevice(unit.order, unit.serial, "dropped")
    return await world.ask(command, "operator", commands.DeviceScrapped, token)


def check_books(world: World) -> None:
    """Memory is what a restart would read, and the rows are what it says."""
    room = world.room
    read = replay_journal(room.store, room.ledger.journal)
    assert read == room.ledger.replay
    check_rows(room.store, read, room.door.keyring)
    check_counts(room.store, read)
