"""The duplicate table of the factory (certificates.md), row by row, and the order of the checks; quotas under load.

Each row says what was asked, and what follows: the answer, units of the quota, entries, the alarm.
"""

import asyncio
import itertools
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from ceremonies.client import KeyroomClient, Refused
from ceremonies.commands import DeviceIssued, IssueDevice
from ceremonies.events import describe_entry
from tests.ceremonies.examples import read_leaves
from tests.ceremonies.lines import Unit, close_order, code_of, figures, make_units, permit
from tests.ceremonies.sockets import serve
from tests.scenarios.test_factory import broken
from tests.world import CLASS, PLANT, World, audit_world, make_request

pytestmark = pytest.mark.engines


class Row(msgspec.Struct, frozen=True):
    """serial: its number; key: `own`, `new` or `of 1` (that of unit 1). answer: code; units: of the quota."""

    serial: int
    key: str
    answer: str
    units: int = 0
    entries: tuple[str, ...] = ("key.sign.denied",)
    alarm: str = ""
    strange: bool = False
    order: str = "wo-1"


ISSUED = ("key.sign.intent", "key.sign.outcome")
TABLE = {
    "new serial, new key": Row(9, "new", "DeviceIssued", 1, ISSUED),
    "same, same": Row(1, "own", "replayed", 0, ("export",)),
    "same, other": Row(1, "new", "serial-taken"),
    "same, other, with a permit": Row(2, "new", "DeviceIssued", 0, (*ISSUED, "certificate.revoke")),
    "other, same": Row(10, "of 1", "key-known", alarm="key-cloned", strange=True),
    "same, that of another": Row(3, "of 1", "serial-taken"),
    "not in the order, new": Row(26, "new", "serial-not-in-order", strange=True),
    "not in the order, same": Row(26, "of 1", "serial-not-in-order", strange=True),
    "exhausted": Row(102, "new", "quota-exhausted", order="wo-full"),
    "exhausted, same": Row(101, "own", "replayed", 0, ("export",), order="wo-full"),
    "outside its window": Row(51, "new", "work-order-closed", order="wo-later"),
    "closed": Row(61, "new", "work-order-closed", order="wo-closed"),
    "unknown order": Row(9, "new", "work-order-unknown", order="wo-9"),
}


async def prepare(world: World) -> dict[int, Unit]:
    """The orders of the table. Units 1 to 3 and 101 have certificates, and there is a permit for 2."""
    await world.open_order(rework_quantity=1)
    await world.open_order("wo-full", quantity=1, first=1, last=199)
    await world.open_order("wo-later", first=50, last=59, valid_from=3_900_000_000, valid_to=4_000_000_000)
    await world.open_order("wo-closed", first=60, last=69)
    units = await make_units(world, range(1, 4)) + await make_units(world, range(101, 102), "wo-full")
    await permit(world, units[1])
    await close_order(world, "wo-closed")
    return {int(unit.serial[4:]): unit for unit in units}


def key_of(row: Row, units: dict[int, Unit]) -> ec.EllipticCurvePrivateKey | None:
    known = {"own": row.serial, "of 1": 1}
    return units[known[row.key]].key if row.key in known else None


def used(world: World) -> int:
    return sum(quota.issued for quota in world.room.ledger.replay.quotas.values())


@pytest.mark.req("CA-2", "CA-13", "CA-14", "T2", "T3", "T4")
def test_the_duplicate_table(genesis_world: World) -> None:
    async def run() -> None:
        world, room = genesis_world, genesis_world.room
        units = await prepare(world)
        for number, (name, row) in enumerate(TABLE.items()):
            # Another station each: three strange requests in a row suspend one.
            bearer = world.token("station", sub=f"station-{number}", plant=PLANT, **{"class": CLASS})
            before, quota = room.ledger.journal.size, used(world)
            strange = room.counters.get("strange_requests", 0)
            answer = await world.try_ask(Unit(row.serial, row.order, key_of(row, units)).request, "station", bearer)
            assert code_of(answer) == row.answer, name
            leaves = read_leaves(world, before)
            assert tuple(leaf["type"] for leaf in leaves) == row.entries, name
            assert used(world) - quota == row.units, name
            assert {describe_entry(0, leaf).alarm for leaf in leaves} == {row.alarm} | (set() if row.alarm else {""})
            assert any(leaf["op"]["what"].get("strange", False) for leaf in leaves) is row.strange, name
            assert room.counters.get("strange_requests", 0) - strange == row.strange, name
            if isinstance(answer, DeviceIssued) and answer.replayed:
                assert answer.certificate == units[row.serial].held.certificate, name
        assert room.counters["cloned_keys"] == 1
        shown = await figures(world)
        assert (shown.refused, shown.duplicates) == (5, 3)
        assert (await audit_world(world)).verdict == "authenticated"

    asyncio.run(run())


@pytest.mark.req("CA-14")
def test_the_order_of_the_checks(genesis_world: World) -> None:
    """Each request is wrong in every way from one on; the first of them is its answer."""
    world = genesis_world

    async def run() -> None:
        await world.open_order(quantity=2, rework_quantity=1, lines=["line-1"], stations=["st-1"])
        claims = {"plant": PLANT, "class": CLASS, "line": "line-1", "station": "st-1"}
        good, numbers = world.token("line-station", **claims), itertools.count()

        def token(**wrong: str) -> str:
            return world.token("line-station", **{**claims, **wrong, "sub": f"station-{next(numbers)}"})

        taken, other = Unit(1), Unit(2)
        for unit in (taken, other):
            await unit.issue(world, good)
        p384 = make_request(ec.generate_private_key(ec.SECP384R1()))
        csr = make_request(taken.key)
        table: list[tuple[str, bytes, int, str, str]] = [
            ("wo-9", bytes(1 << 17), 999, token(plant="linz"), "request-too-large"),
            ("wo-9", csr[:-40], 999, token(plant="linz"), "request-malformed"),
            ("wo-9", broken(csr), 999, token(plant="linz"), "proof-of-possession-failed"),
            ("wo-9", p384, 999, token(plant="linz"), "work-order-unknown"),
            ("wo-1", p384, 999, token(plant="linz", line="line-2"), "binding-mismatch"),
            ("wo-1", p384, 999, token(**{"class": "other"}, station="st-2"), "binding-mismatch"),
            ("wo-1", p384, 999, token(line="line-2", station="st-2"), "binding-mismatch"),
            ("wo-1", p384, 999, token(station="st-2"), "binding-mismatch"),
            ("wo-1", p384, 999, world.role_token("station"), "binding-mismatch"),  # of no line
            ("wo-1", p384, 999, good, "serial-not-in-order"),
            ("wo-1", p384, 1, good, "key-refused"),
            ("wo-1", csr, 1, good, "replayed"),
            ("wo-1", csr, 2, good, "serial-taken"),
            ("wo-1", csr, 3, good, "key-known"),
            ("wo-1", make_request(), 3, good, "quota-exhausted"),
        ]
        for order, request, serial, bearer, wanted in table:
            command = IssueDevice(order, f"BMS-{serial:06}", request)
            assert code_of(await world.try_ask(command, "station", bearer)) == wanted

    asyncio.run(run())


@pytest.mark.req("CA-13", "T4")
def test_two_hundred_at_once_from_eight_connections_for_the_last_ten(factory_world: World) -> None:
    """Through the keyroom's own socket. The order has 25 serials for 20 units; 10 are used."""
    world = factory_world
    asyncio.run(make_units(world, range(1, 11)))

    async def use(_path: object) -> None:
        clients = [KeyroomClient(world.settings().socket, timeout=60) for _ in range(8)]
        asked = [IssueDevice("wo-1", f"BMS-{11 + at % 15:06}", make_request()) for at in range(200)]
        answers = await asyncio.gather(
            *(ask(clients[at % 8], command, world.role_token("station")) for at, command in enumerate(asked))
        )
        for client in clients:
            await client.close()
        issued = [answer for answer in answers if isinstance(answer, DeviceIssued)]
        assert len(issued) == 10
        assert len({answer.serial for answer in issued}) == len({answer.certificate for answer in issued}) == 10
        assert set(map(code_of, answers)) == {"DeviceIssued", "quota-exhausted", "serial-taken"}
        shown = await figures(world)
        assert (shown.used, shown.issued, shown.remaining) == (20, 20, 0)
        assert shown.refused == 190

    serve(world, use)


async def ask(client: KeyroomClient, command: IssueDevice, token: str) -> Any:
    try:
        return await client.ask(command, token=token, source="192.0.2.7")
    except Refused as error:
        return error.problem


@pytest.mark.req("CA-14", "T2")
def test_a_hundred_replays_are_one_certificate(factory_world: World) -> None:
    async def run() -> None:
        (unit,) = await make_units(factory_world, range(1, 2))
        answers = await asyncio.gather(*(factory_world.try_ask(unit.request, "station") for _ in range(100)))
        assert {code_of(answer) for answer in answers} == {"replayed"}
        assert {answer.certificate for answer in answers if isinstance(answer, DeviceIssued)} == {unit.held.certificate}
        assert (await figures(factory_world)).used == 1

    asyncio.run(run())
