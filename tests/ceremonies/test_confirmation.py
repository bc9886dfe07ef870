"""Confirmations: by the unit's key, over what was handed out; repeated, refused, many at once."""

import asyncio
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from ceremonies import commands
from ceremonies.commands import Confirmation, ConfirmDevices, DeviceConfirmed, DevicesConfirmed, Problem
from ceremonies.journal import JournalForked
from tests.ceremonies.examples import read_leaves
from tests.ceremonies.lines import Unit, check_books, close_order, code_of, figures, make_units, permit, scrap
from tests.engines import tamper
from tests.world import CLASS, PLANT, World


def batch_of(*confirmations: commands.ConfirmDevice) -> ConfirmDevices:
    items = tuple(Confirmation(item.serial, item.chain_sha256, item.signature) for item in confirmations)
    return ConfirmDevices(confirmations[0].work_order, items)


@pytest.mark.engines
@pytest.mark.req("T2", "T15")
def test_a_unit_is_confirmed_once_and_the_answer_is_the_same(factory_world: World) -> None:
    async def run() -> None:
        (unit, _) = await make_units(factory_world, range(1, 3))
        before = factory_world.room.ledger.journal.size
        first = await unit.confirm(factory_world)
        assert first == DeviceConfirmed(unit.serial, before, replayed=False)
        for _ in range(3):  # another signature each time
            assert await unit.confirm(factory_world) == DeviceConfirmed(unit.serial, before, replayed=True)
        leaves = read_leaves(factory_world, before)
        assert [leaf["type"] for leaf in leaves] == ["device.confirm", "export", "export", "export"]
        what = leaves[0]["op"]["what"]
        assert (what["serial"], what["work_order"]) == (unit.serial, "wo-1")
        shown = await figures(factory_world)
        assert (shown.issued, shown.confirmed, shown.unconfirmed) == (2, 1, 1)
        check_books(factory_world)

    asyncio.run(run())


def test_a_raw_signature_and_a_der_signature_are_one_confirmation(factory_world: World) -> None:
    async def run() -> None:
        (unit,) = await make_units(factory_world, range(1, 2))
        confirmation = unit.confirmation()
        raw = b"".join(number.to_bytes(32, "big") for number in decode_dss_signature(confirmation.signature))
        answer = await factory_world.try_ask(unit.confirmation(signature=raw), "station")
        assert code_of(answer) == "DeviceConfirmed"
        assert code_of(await factory_world.try_ask(confirmation, "station")) == "replayed"

    asyncio.run(run())


@pytest.mark.req("T15", "T2")
@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"chain_sha256": "0" * 64}, "chain-mismatch"),
        ({"key": ec.generate_private_key(ec.SECP256R1())}, "confirmation-invalid"),
        ({"nonce": bytes(32)}, "confirmation-invalid"),
        ({"signature": b"\x30\x06\x02\x01\x01\x02\x01\x01"}, "confirmation-invalid"),
        ({"signature": bytes(64)}, "confirmation-invalid"),
        ({"signature": b"no signature"}, "confirmation-invalid"),
        ({"order": "wo-9"}, "work-order-unknown"),
    ],
)
def test_what_is_no_confirmation_is_refused_and_recorded(
    factory_world: World, changed: dict[str, Any], code: str
) -> None:
    async def run() -> None:
        (unit,) = await make_units(factory_world, range(1, 2))
        before = factory_world.room.ledger.journal.size
        assert code_of(await factory_world.try_ask(unit.confirmation(**changed), "station")) == code
        (leaf,) = read_leaves(factory_world, before)
        assert (leaf["type"], leaf["out"]["status"]) == ("device.confirm", "denied")
        assert leaf["out"]["why"].startswith(f"{code}: ")
        assert (await figures(factory_world)).confirmed == 0
        assert code_of(await factory_world.try_ask(unit.confirmation(), "station")) == "DeviceConfirmed"

    asyncio.run(run())


def test_a_serial_without_a_certificate_and_one_outside_the_order(factory_world: World) -> None:
    async def run() -> None:
        (unit,) = await make_units(factory_world, range(1, 2))
        other, stranger = Unit(2, key=unit.key), Unit(26, key=unit.key)
        other.device = stranger.device = unit.held
        assert code_of(await factory_world.try_ask(other.confirmation(), "station")) == "device-unknown"
        before = factory_world.room.ledger.journal.size
        assert code_of(await factory_world.try_ask(stranger.confirmation(), "station")) == "serial-not-in-order"
        (leaf,) = read_leaves(factory_world, before)
        assert leaf["op"]["what"]["strange"] is True

    asyncio.run(run())


@pytest.mark.req("AZ-4")
@pytest.mark.parametrize("claims", [{"plant": "linz", "class": CLASS}, {"plant": PLANT, "class": "another"}])
def test_a_station_of_another_plant_or_class_confirms_nothing(factory_world: World, claims: dict[str, str]) -> None:
    async def run() -> None:
        (unit,) = await make_units(factory_world, range(1, 2))
        token = factory_world.token("station", **claims)
        assert code_of(await factory_world.try_ask(unit.confirmation(), "station", token)) == "binding-mismatch"
        assert (await figures(factory_world)).confirmed == 0

    asyncio.run(run())


@pytest.mark.engines
def test_a_batch_answers_item_by_item_in_one_commit(factory_world: World) -> None:
    async def run() -> None:
        units = await make_units(factory_world, range(1, 7))
        await units[0].confirm(factory_world)
        wrong = units[2].confirmation(chain_sha256="0" * 64)
        missing = Unit(9)
        missing.device = units[0].held
        before = factory_world.room.ledger.journal.size
        command = batch_of(
            units[0].confirmation(), units[1].confirmation(), wrong, units[3].confirmation(), units[3].confirmation(),
            missing.confirmation(),
        )  # fmt: skip
        answers = (await factory_world.ask(command, "station", DevicesConfirmed)).answers
        assert [code_of(answer) for answer in answers] == [
            "replayed", "DeviceConfirmed", "chain-mismatch", "DeviceConfirmed", "replayed", "device-unknown",
        ]  # fmt: skip
        leaves = read_leaves(factory_world, before)
        assert [leaf["type"] for leaf in leaves] == ["device.confirm"] * 4
        assert len({leaf["ts"] for leaf in leaves}) == 1
        assert [leaf.get("out", {}).get("status") for leaf in leaves] == [None, "denied", None, "denied"]
        again = (await factory_world.ask(command, "station", DevicesConfirmed)).answers
        assert [a.index for a in again if isinstance(a, DeviceConfirmed)] == [
            a.index for a in answers if isinstance(a, DeviceConfirmed)
        ]
        assert (await figures(factory_world)).confirmed == 3
        check_books(factory_world)

    asyncio.run(run())


@pytest.mark.req("T5")
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE device SET certificate = (SELECT certificate FROM device WHERE serial = 'BMS-000002')",
        "UPDATE device SET work_order = 'wo-2' WHERE serial = 'BMS-000001'",
    ],
)
def test_rows_that_somebody_changed_confirm_nothing(factory_world: World, statement: str) -> None:
    async def run() -> None:
        unit, _ = await make_units(factory_world, range(1, 3))
        tamper(factory_world.room.store, statement)
        answer = await factory_world.try_ask(unit.confirmation(), "station")
        assert code_of(answer) in (JournalForked.code, "device-unknown")
        assert (await figures(factory_world)).confirmed == 0

    asyncio.run(run())


def test_a_scrapped_or_reworked_unit_is_not_confirmed_as_it_was(genesis_world: World) -> None:
    async def run() -> None:
        world = genesis_world
        await world.open_order(rework_quantity=1)
        dropped, changed, kept = await make_units(world, range(1, 4))
        await scrap(world, dropped)
        assert code_of(await world.try_ask(dropped.confirmation(), "station")) == "unit-scrapped"
        await permit(world, changed)
        new = Unit(2)
        await new.issue(world)
        assert code_of(await world.try_ask(changed.confirmation(), "station")) == "chain-mismatch"
        assert code_of(await world.try_ask(new.confirmation(), "station")) == "DeviceConfirmed"
        await close_order(world)
        assert code_of(await world.try_ask(kept.confirmation(), "station")) == "work-order-closed"
        assert code_of(await world.try_ask(new.confirmation(), "station")) == "replayed"
        check_books(world)

    asyncio.run(run())


def test_problems_of_a_batch_are_problems(factory_world: World) -> None:
    unit = Unit(1)
    unit.device = asyncio.run(Unit(2).issue(factory_world))
    (answer,) = asyncio.run(factory_world.ask(batch_of(unit.confirmation()), "station", DevicesConfirmed)).answers
    assert isinstance(answer, Problem)
    assert answer.hint


@pytest.mark.req("CA-13")
def test_strange_confirmations_in_a_batch_suspend(factory_world: World) -> None:
    async def run() -> None:
        items = tuple(Confirmation(f"BMS-90000{number}", "0" * 64, bytes(64)) for number in range(3))
        await factory_world.ask(ConfirmDevices("wo-1", items), "station", DevicesConfirmed)
        assert len(factory_world.room.ledger.replay.stations.suspended) == 1

    asyncio.run(run())
