"""Rework and scrap: a supervisor of the plant, one serial, a quota of its own."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator

import pytest
from cryptography import x509

from ceremonies import commands, issuance
from ceremonies.commands import DeviceIssued, IssueDevice
from ceremonies.journal import JournalForked
from ceremonies.orders import Actor
from ceremonies.plans import WorkOrder
from ceremonies.reckoning import check_rows
from ceremonies.room import Room
from ceremonies.standing import Replacement, find_replacement
from ceremonies.statements import apply_changes
from ceremonies.store import StoreUnavailable, Update
from ceremonies.tables import DeviceRow
from ceremonies.unit_tables import ReplacedDeviceRow, ReworkQuotaRow, ScrapRow
from tests.ceremonies.examples import read_leaves
from tests.ceremonies.lines import Unit, check_books, close_order, code_of, figures, make_units, permit, scrap
from tests.engines import tamper
from tests.world import World, audit_world, make_request, soft_keys


@pytest.fixture
def line(genesis_world: World) -> World:
    """A work order of 3 with serials 1 to 25 and two permits."""
    asyncio.run(genesis_world.open_order(quantity=3, rework_quantity=2))
    return genesis_world


def numbers_of(world: World) -> list[str]:
    """The numbers that entries revoke."""
    whats = [leaf["op"]["what"] for leaf in read_leaves(world) if leaf["type"] == "certificate.revoke"]
    return [number for what in whats for number in what.get("numbers", [what.get("number")])]


def number_of(device: DeviceIssued) -> str:
    return f"{x509.load_pem_x509_certificate(device.certificate).serial_number:040x}"


@pytest.mark.engines
@pytest.mark.req("CA-14", "T4")
def test_a_permit_gives_one_other_key_one_certificate(line: World) -> None:
    async def run() -> None:
        old, _, _ = await make_units(line, range(1, 4))  # the quota is used up
        await old.confirm(line)
        new, third = Unit(1), Unit(1)
        assert code_of(await line.try_ask(new.request, "station")) == "serial-taken"
        permitted = await permit(line, old)
        assert (permitted.left, permitted.replayed) == (1, False)
        assert await permit(line, old) == commands.ReworkPermitted(
            "wo-1", old.serial, permitted.index, 1, replayed=True
        )
        before = line.room.ledger.journal.size
        await new.issue(line)
        assert [leaf["type"] for leaf in read_leaves(line, before)] == [
            "key.sign.intent", "key.sign.outcome", "certificate.revoke",
        ]  # fmt: skip
        assert numbers_of(line) == [number_of(old.held)]
        what = read_leaves(line, before)[2]["op"]["what"]
        assert (what["serial"], what["reason"], what["work_order"]) == (old.serial, "superseded", "wo-1")
        assert what["ca"] == line.room.door.keyring.labelled("device-ca").spki
        assert code_of(await line.try_ask(third.request, "station")) == "serial-taken"
        assert code_of(await line.try_ask(new.request, "station")) == "replayed"
        assert code_of(await line.try_ask(old.request, "station")) == "certificate-replaced"
        stolen = IssueDevice("wo-1", "BMS-000009", make_request(old.key))
        assert code_of(await line.try_ask(stolen, "station")) == "key-known"
        shown = await figures(line)
        assert (shown.used, shown.remaining, shown.issued, shown.replaced) == (3, 0, 3, 1)
        assert (shown.confirmed, shown.unconfirmed, shown.reworked, shown.rework_quantity) == (0, 3, 1, 2)
        (row,) = line.room.store.list(ReplacedDeviceRow, "serial")
        device = line.room.store.find(DeviceRow, serial=old.serial)
        assert device
        assert (row["successor"], row["spki"] != device["spki"]) == (device["certificate"], True)
        await new.confirm(line)
        assert (await figures(line)).confirmed == 1
        check_books(line)
        assert (await audit_world(line)).verdict == "authenticated"

    asyncio.run(run())


@pytest.mark.req("T4")
def test_permits_are_counted_by_the_database(line: World) -> None:
    async def run() -> None:
        units = await make_units(line, range(1, 4))
        for unit in units[:2]:
            await permit(line, unit)
        answer = await line.try_ask(commands.PermitRework("wo-1", units[2].serial, "again"), "operator")
        assert code_of(answer) == "rework-exhausted"
        again = [Unit(number) for number in (1, 2)]
        for unit in again:
            await unit.issue(line)
        assert code_of(await line.try_ask(commands.PermitRework("wo-1", "BMS-000001", "x"), "operator")) == (
            "rework-exhausted"
        )
        check_books(line)

    asyncio.run(run())


@pytest.mark.engines
@pytest.mark.req("T4")
def test_the_database_holds_the_quota_of_rework(line: World) -> None:
    store = line.room.store
    spent = Update(ReworkQuotaRow, {"work_order": "wo-1"}, {"opened": 3})
    with pytest.raises(StoreUnavailable), store.write() as connection:
        apply_changes(connection, [spent])
    tamper(store, "UPDATE rework_quota SET quantity = 9")
    with pytest.raises(JournalForked, match="quotas of rework"):
        check_rows(store, line.room.ledger.replay, line.room.door.keyring)


def test_an_order_without_rework_has_none(factory_world: World) -> None:
    async def run() -> None:
        (unit,) = await make_units(factory_world, range(1, 2))
        answer = await factory_world.try_ask(commands.PermitRework("wo-1", unit.serial, "x"), "operator")
        assert code_of(answer) == "rework-exhausted"
        assert factory_world.room.store.list(ReworkQuotaRow, "work_order") == []

    asyncio.run(run())


@pytest.mark.req("AZ-4")
def test_a_supervisor_speaks_for_the_own_plant(line: World) -> None:
    async def run() -> None:
        (unit,) = await make_units(line, range(1, 2))
        token = line.token("operator", plant="linz", site="hornsea-1")
        for command in (
            commands.PermitRework("wo-1", unit.serial, "x"),
            commands.ScrapDevice("wo-1", unit.serial, "x"),
        ):
            before = line.room.ledger.journal.size
            assert code_of(await line.try_ask(command, "operator", token)) == "binding-mismatch"
            assert code_of(await line.try_ask(command, "station")) == "role-refused"
            assert [leaf["type"] for leaf in read_leaves(line, before)] == ["auth.fail"] * 2
        for command in (
            commands.PermitRework("wo-1", "BMS-000009", "x"),
            commands.ScrapDevice("wo-1", "BMS-000009", "x"),
        ):
            assert code_of(await line.try_ask(command, "operator")) == "device-unknown"

    asyncio.run(run())


@pytest.mark.engines
@pytest.mark.req("CA-14")
def test_two_keys_for_one_permit_at_once(line: World) -> None:
    async def run() -> None:
        (old,) = await make_units(line, range(1, 2))
        await permit(line, old)
        answers = await asyncio.gather(*(line.try_ask(Unit(1).request, "station") for _ in range(8)))
        assert sorted(map(code_of, answers)) == ["DeviceIssued"] + ["serial-taken"] * 7
        assert len(numbers_of(line)) == 1
        check_books(line)

    asyncio.run(run())


def test_a_permit_and_its_device_are_read_where_nothing_comes_between(
    line: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another key may use the permit meanwhile: then the rows would seem forged."""
    read: list[str] = []

    def watched(room: Room, by: Actor, order: WorkOrder, serial: str, spki: str) -> Replacement | None:
        read.append(threading.current_thread().name)
        return find_replacement(room, by, order, serial, spki)

    async def run() -> None:
        (old,) = await make_units(line, range(1, 2))
        await permit(line, old)
        monkeypatch.setattr(issuance, "find_replacement", watched)
        await Unit(1).issue(line)

    asyncio.run(run())
    assert read == ["writer"]


@pytest.mark.engines
def test_scrap_revokes_and_keeps_the_quota_used(line: World) -> None:
    async def run() -> None:
        confirmed, unconfirmed, _ = await make_units(line, range(1, 4))
        await confirmed.confirm(line)
        await permit(line, unconfirmed)
        for unit in (confirmed, unconfirmed):
            before = line.room.ledger.journal.size
            first = await scrap(line, unit)
            assert [leaf["type"] for leaf in read_leaves(line, before)] == ["device.scrap", "certificate.revoke"]
            assert await scrap(line, unit) == commands.DeviceScrapped("wo-1", unit.serial, first.index, replayed=True)
            assert code_of(await line.try_ask(unit.request, "station")) == "unit-scrapped"
            assert code_of(await line.try_ask(Unit(int(unit.serial[4:])).request, "station")) == "unit-scrapped"
        assert numbers_of(line) == [number_of(confirmed.held), number_of(unconfirmed.held)]
        assert code_of(await line.try_ask(Unit(4).request, "station")) == "quota-exhausted"
        refused = await line.try_ask(commands.PermitRework("wo-1", confirmed.serial, "x"), "operator")
        assert code_of(refused) == "unit-scrapped"
        shown = await figures(line)
        assert (shown.issued, shown.confirmed, shown.unconfirmed, shown.scrapped) == (3, 0, 1, 2)
        assert len(line.room.store.list(ScrapRow, "serial")) == 2
        check_books(line)

    asyncio.run(run())


def test_permits_outlive_a_restart(line: World) -> None:
    (old,) = asyncio.run(make_units(line, range(1, 2)))
    asyncio.run(permit(line, old))
    line.stop()
    line.start()
    asyncio.run(Unit(1).issue(line))
    assert numbers_of(line) == [number_of(old.held)]


@contextlib.contextmanager
def failing(world: World, ca: str = "device-ca") -> Iterator[None]:
    """The token has lost a CA's key: intents are written, and have no outcome."""
    box, name = soft_keys(world), world.room.door.keyring.labelled(ca).cka_id
    taken = box.keys.pop(("kedge-main", bytes.fromhex(name)))
    yield
    box.keys["kedge-main", bytes.fromhex(name)] = taken


def test_an_interrupted_request_keeps_its_permit_until_another_is_opened(line: World) -> None:
    async def run() -> None:
        first, second = await make_units(line, range(1, 3))
        again, other, third = Unit(1), Unit(1), Unit(2)
        await permit(line, first)
        await permit(line, second)
        with failing(line):
            for unit in (again, third):
                assert code_of(await line.try_ask(unit.request, "station")) == "hsm-key-not-found"
        assert code_of(await line.try_ask(other.request, "station")) == "serial-taken"
        await again.issue(line)  # the same key may go on
        assert numbers_of(line) == [number_of(first.held)]
        await scrap(line, second)  # and loses its permit here
        assert code_of(await line.try_ask(third.request, "station")) == "unit-scrapped"
        check_books(line)

    asyncio.run(run())


def test_a_key_that_was_lost_on_the_way_is_followed_by_another(line: World) -> None:
    async def run() -> None:
        (first,) = await make_units(line, range(1, 2))
        lost, new = Unit(1), Unit(1)
        await permit(line, first)
        with failing(line):
            assert code_of(await line.try_ask(lost.request, "station")) == "hsm-key-not-found"
        assert not (await permit(line, first)).replayed
        await new.issue(line)
        assert code_of(await line.try_ask(lost.request, "station")) == "serial-taken"
        check_books(line)

    asyncio.run(run())


@pytest.mark.engines
@pytest.mark.req("T5")
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE device SET certificate = (SELECT d.certificate FROM device d WHERE d.serial = 'BMS-000002')",
        "UPDATE device SET certificate = (SELECT c.document FROM certificate c WHERE c.label = 'device-ca')",
        "UPDATE device SET spki = certificate",
        "INSERT INTO confirmation SELECT serial, certificate, 7 FROM device",
    ],
)
def test_rows_that_somebody_changed_take_nobody_elses_certificate_back(line: World, statement: str) -> None:
    async def run() -> None:
        unit, _ = await make_units(line, range(1, 3))
        where = " AND " if " WHERE " in statement.rpartition(")")[2] else " WHERE "
        tamper(line.room.store, f"{statement}{where}serial = 'BMS-000001'")
        for command in (commands.ScrapDevice, commands.PermitRework):
            answer = await line.try_ask(command("wo-1", unit.serial, "x"), "operator")
            assert code_of(answer) == JournalForked.code
        assert numbers_of(line) == []

    asyncio.run(run())


@pytest.mark.req("T5")
def test_the_certificate_that_was_replaced_is_not_the_one_that_is_scrapped(line: World) -> None:
    async def run() -> None:
        (old,) = await make_units(line, range(1, 2))
        await permit(line, old)
        await Unit(1).issue(line)
        tamper(
            line.room.store,
            "UPDATE device SET certificate = (SELECT certificate FROM replaced_device), "
            "spki = (SELECT spki FROM replaced_device)",
        )
        answer = await line.try_ask(commands.ScrapDevice("wo-1", old.serial, "x"), "operator")
        assert code_of(answer) == JournalForked.code

    asyncio.run(run())


@pytest.mark.req("CA-14")
def test_a_unit_whose_certificate_an_officer_revoked_is_not_served_again(line: World) -> None:
    """Neither with its certificate nor as built, alone or in a batch; rework is the way."""

    async def run() -> None:
        (unit,) = await make_units(line, range(1, 2))
        command = commands.RevokeCertificate(unit.serial, reason="keyCompromise", why="stolen")
        await line.ask(command, "officer", commands.CertificateShown)
        before = line.room.ledger.journal.size
        answer = await line.try_ask(unit.request, "station")
        assert code_of(answer) == "certificate-withdrawn"
        assert "permit for rework" in getattr(answer, "hint", "")
        (entry,) = read_leaves(line, before)
        assert (entry["type"], entry["out"]["status"]) == ("key.sign.denied", "denied")
        batch = commands.IssueDevices("wo-1", (commands.DeviceRequest(unit.serial, unit.request.csr),))
        (item,) = (await line.ask(batch, "station", commands.DevicesIssued)).answers
        assert code_of(item) == "certificate-withdrawn"
        assert code_of(await line.try_ask(unit.confirmation(), "station")) == "certificate-withdrawn"
        assert (await figures(line)).refused == 2
        await permit(line, unit)
        new = Unit(1)
        await new.issue(line)
        await new.confirm(line)
        assert (await figures(line)).confirmed == 1
        check_books(line)

    asyncio.run(run())


@pytest.mark.req("CA-14")
def test_a_unit_of_a_closed_order_is_reworked_under_another(line: World) -> None:
    async def run() -> None:
        lost, built = await make_units(line, range(1, 3))
        await built.confirm(line)
        await close_order(line)
        for name, fields in (("wo-2", {"rework_quantity": 2}), ("wo-3", {"plant": "linz", "rework_quantity": 2})):
            await line.open_order(name, **fields)
        token = line.token("operator", plant=["graz", "linz"], site="hornsea-1")
        refused = await line.try_ask(commands.PermitRework("wo-1", lost.serial, "x"), "operator")
        assert code_of(refused) == "work-order-closed"
        assert "another order" in getattr(refused, "hint", "")
        elsewhere = commands.PermitRework("wo-3", lost.serial, "x")
        assert code_of(await line.try_ask(elsewhere, "operator", token)) == "device-unknown"
        for unit in (lost, built):
            new = Unit(int(unit.serial[-1]), "wo-2")
            assert code_of(await line.try_ask(new.request, "station")) == "serial-taken"
            opened = await line.ask(
                commands.PermitRework("wo-2", unit.serial, "x"), "operator", commands.ReworkPermitted
            )
            assert not opened.replayed
            await new.issue(line)
            check_books(line)
            await new.confirm(line)
            assert code_of(await line.try_ask(unit.request, "station")) == "certificate-replaced"
        first, second = await figures(line), await figures(line, "wo-2")
        assert (first.issued, first.confirmed, first.unconfirmed, first.replaced) == (0, 0, 0, 2)
        assert (second.issued, second.confirmed, second.reworked, second.used) == (2, 2, 2, 0)
        assert {number_of(lost.held), number_of(built.held)} <= set(numbers_of(line))
        await close_order(line, "wo-2")
        check_books(line)
        assert (await audit_world(line)).verdict == "authenticated"

    asyncio.run(run())
