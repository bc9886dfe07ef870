"""Devices of a box are callers of the centre from their settlement on, until something speaks against them."""

import asyncio
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from ceremonies.commands import CertificateShown, Problem, RevokeCertificate, ShowCertificate
from ceremonies.grant_tables import BoxCertificateRow
from ceremonies.journal import JournalForked
from ceremonies.owned import find_ldevid
from ceremonies.revocations import is_revoked
from ceremonies.settled import find_accepted, is_listed, write_list
from tests.ceremonies.boxed import CA, Pair, carry, issue, settle
from tests.ceremonies.field import problem
from tests.ceremonies.lines import Unit, permit, scrap
from tests.ceremonies.owning import Owner, der_of, place
from tests.ceremonies.revoking import Watch
from tests.ceremonies.small import act
from tests.ceremonies.test_rework import number_of
from tests.engines import tamper
from tests.scenarios.test_sitebox import check, let_go
from tests.world import World, make_request


def test_a_list_has_what_was_written() -> None:
    digests = [bytes([number]) * 32 for number in (9, 1, 5, 9)]
    data = write_list(digests)
    assert len(data) == 96
    assert [is_listed(data, bytes([number]) * 32) for number in (0, 1, 5, 9, 10)] == [False, True, True, True, False]
    assert not is_listed(b"", digests[0])


async def make_units(pair: Pair, *numbers: int) -> list[Unit]:
    """Units of the box, confirmed, settled and installed."""
    units = [Unit(number) for number in numbers]
    for unit in units:
        await unit.issue(pair.box)
        await unit.confirm(pair.box)
    await settle(pair.centre, await carry(pair.box))
    await place(pair.centre, *(unit.serial for unit in units))
    return units


async def refuse(owner: Owner, **shown: Any) -> str:
    """The code with which the centre refuses a device."""
    owner.key = ec.generate_private_key(ec.SECP256R1())
    return problem(await owner.ask(**shown)).code


async def has_ldevid(world: World, serial: str) -> bool:
    """Whether a device has an LDevID that is not revoked."""

    def find() -> bool:
        found = find_ldevid(world.room, serial)
        return found is not None and not is_revoked(world.room, found)

    return await world.room.act(find)


@pytest.mark.req("CA-11", "CA-13", "T25")
def test_a_device_of_a_box_gets_its_ldevid_until_somebody_ends_it(pair: Pair) -> None:
    centre, box = pair.centre, pair.box
    late = Unit(5)

    async def come() -> list[Owner]:
        await late.issue(box)
        stranger = Unit(6)
        units = await make_units(pair, 1, 2, 3, 4)
        await stranger.issue(box)
        await place(centre, late.serial)
        owners = [Owner(centre, unit, Watch(centre)) for unit in (*units, late, stranger)]
        for owner in owners[:4]:
            await owner.enrol()
        assert await refuse(owners[4]) == "unit-unconfirmed"
        assert await refuse(owners[5]) == "client-certificate-unknown"  # not settled yet
        await late.confirm(box)
        await settle(centre, await carry(box))
        await owners[4].enrol()
        return owners

    owners = asyncio.run(come())
    check(centre)

    async def go() -> None:
        reworked, scrapped, revoked, other, twice = [owner.unit for owner in owners[:5]]
        before = der_of(reworked.held)
        await permit(box, reworked)
        reworked.key = ec.generate_private_key(ec.SECP256R1())
        await reworked.issue(box)
        await reworked.confirm(box)
        await scrap(box, scrapped)
        await permit(box, twice)
        twice.key = ec.generate_private_key(ec.SECP256R1())
        await twice.issue(box)
        await twice.confirm(box)
        await scrap(box, twice)  # two certificates, for two reasons, and one LDevID
        settled = await settle(centre, await carry(box))
        assert (settled.findings, settled.counts["revoked"]) == ((), 4)
        held = [await has_ldevid(centre, owner.unit.serial) for owner in owners[:5]]
        assert held == [False, False, True, True, False]
        assert await refuse(owners[0], shown=before) == "client-certificate-unknown"  # another took its place
        assert await refuse(owners[1]) == "device-revoked"
        await owners[0].enrol()
        by_number = ShowCertificate(number=number_of(revoked.held))
        shown = await centre.ask(by_number, "officer", CertificateShown)
        assert (shown.status, shown.ca, shown.kind, shown.serial) == ("good", CA, "idevid", revoked.serial)
        ended = RevokeCertificate(serial=revoked.serial, reason="keyCompromise", why="stolen")
        assert (await centre.ask(ended, "officer", CertificateShown)).status == "revoked"
        assert not await has_ldevid(centre, revoked.serial) and await has_ldevid(centre, other.serial)
        assert await refuse(owners[2]) == "device-revoked"
        plan = {"reason": "cACompromise", "why": "the box was stolen", "numbers": [authority_number(centre)]}
        await centre.ceremony("end-box", "revoke", plan)
        assert await refuse(owners[3]) == "device-revoked"

    asyncio.run(go())
    check(centre, box)


def authority_number(centre: World) -> str:
    """The number of the certificate of the box's CA."""
    replay = centre.room.ledger.replay
    return replay.generations.known[replay.grants.boxes[CA].ca].number


@pytest.mark.req("CA-13", "T4", "T5")
def test_who_is_not_accepted(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the grant, clones, and what somebody writes into rows."""
    centre, box = pair.centre, pair.box
    cloned = ec.generate_private_key(ec.SECP256R1())
    beyond, clone = Unit(11), Unit(12, key=cloned)

    async def play() -> None:
        await centre.open_order(last=100, quantity=50)
        await issue(centre, "BMS-000050", make_request(cloned))
        let_go(monkeypatch)
        for number in range(1, 10):
            await issue(box, f"BMS-{number:06}")
        for unit in (clone, beyond):
            await unit.issue(box)
            await unit.confirm(box)
        settled = await settle(centre, await carry(box))
        assert sorted({item.code for item in settled.findings}) == ["key-clone", "overuse"]
        await place(centre, beyond.serial)
        for unit in (beyond, clone):
            assert await refuse(Owner(centre, unit, Watch(centre))) == "client-certificate-unknown"
        told: Problem = problem(await centre.try_ask(ShowCertificate(serial=beyond.serial), "officer"))
        assert told.code == "certificate-unknown" and "site box" in told.message

    asyncio.run(play())
    store, room = centre.room.store, centre.room
    number = number_of(beyond.held)
    tamper(store, "UPDATE box_certificate SET settled = (SELECT max(settled) FROM box_certificate)")
    with pytest.raises(JournalForked):
        act(centre, lambda: find_accepted(room, number=number))
    first = store.list(BoxCertificateRow, "serial", serial="BMS-000001")[0]
    with monkeypatch.context() as patched:  # a list of megabytes is read once, however often a stranger asks
        assert act(centre, lambda: find_accepted(room, number=first["number"])) is not None
        patched.setattr(type(store), "blob", lambda *_: None)
        assert act(centre, lambda: find_accepted(room, number=first["number"])) is not None
    tamper(store, "UPDATE box_certificate SET confirmed = settled WHERE serial = 'BMS-000001'")
    with pytest.raises(JournalForked):
        act(centre, lambda: find_accepted(room, number=first["number"]))
    tamper(store, "UPDATE box_certificate SET settled = settled - 1")
    with pytest.raises(JournalForked):
        act(centre, lambda: find_accepted(room, number=first["number"]))


@pytest.mark.req("CA-2", "T5")
def test_no_row_leads_a_serial_to_the_certificate_of_another(pair: Pair) -> None:
    """A unit that was never confirmed gets nothing by what a settlement said of a box's device."""
    centre, unit = pair.centre, Unit(50)

    async def play() -> None:
        await centre.open_order(last=100, quantity=50)
        await make_units(pair, 1)
        await unit.issue(centre)
        await place(centre, unit.serial)
        owner = Owner(centre, unit, Watch(centre))
        assert await refuse(owner) == "unit-unconfirmed"
        told = "SELECT {} FROM device AS other WHERE other.serial = 'BMS-000001'"
        rows = ", ".join(f"{name} = ({told.format(name)})" for name in ("work_order", "certificate"))
        tamper(centre.room.store, f"UPDATE device SET {rows} WHERE serial = '{unit.serial}'")
        assert await refuse(owner) == JournalForked.code
        ended = RevokeCertificate(serial=unit.serial, reason="keyCompromise", why="stolen")
        assert problem(await centre.try_ask(ended, "officer")).code == JournalForked.code

    asyncio.run(play())


@pytest.mark.req("CA-3", "CA-13", "T4")
def test_a_number_that_a_box_took_from_the_centre_hides_nothing(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """A changed box gives its certificates the numbers of a device of the centre, and of its own CA."""
    centre, box = pair.centre, pair.box

    async def play() -> None:
        await centre.open_order(last=100, quantity=50)
        taken = number_of(await issue(centre, "BMS-000050"))
        monkeypatch.setattr("ceremonies.numbers.draw_numbers", lambda _: [taken, authority_number(centre)])
        for number in (1, 2):
            await issue(box, f"BMS-{number:06}")
        settled = await settle(centre, await carry(box))
        assert [item.code for item in settled.findings] == ["number-twice"]
        ended = RevokeCertificate(number=taken, reason="keyCompromise", why="stolen")
        assert (await centre.ask(ended, "officer", CertificateShown)).serial == "BMS-000050"
        shown = await centre.ask(ShowCertificate(number=authority_number(centre)), "officer", CertificateShown)
        assert shown.kind == "device-ca"

    asyncio.run(play())


@pytest.mark.req("CA-11", "T5")
def test_no_row_hides_what_a_box_has_revoked(pair: Pair) -> None:
    """Who writes to the database takes the device's row away for the time of a settlement."""

    async def play() -> None:
        (unit,) = await make_units(pair, 1)
        store = pair.centre.room.store
        (row,) = store.list(BoxCertificateRow, "number")
        tamper(store, "UPDATE box_certificate SET settled = 0")
        await scrap(pair.box, unit)
        await settle(pair.centre, await carry(pair.box))
        tamper(store, f"UPDATE box_certificate SET settled = {row['settled']}")
        assert await refuse(Owner(pair.centre, unit, Watch(pair.centre))) == "device-revoked"

    asyncio.run(play())


@pytest.mark.req("CA-11", "T25")
def test_who_was_replaced_while_it_asked_gets_nothing(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """A settlement comes between a device's request and its LDevID, and tells of another board under its serial."""
    centre, box = pair.centre, pair.box
    readers, real = type(centre.room.readers), centre.room.readers.take_in

    async def play() -> None:
        (unit,) = await make_units(pair, 1)
        old = Owner(centre, unit, Watch(centre))

        async def take_in(_: object, *given: Any) -> Any:
            monkeypatch.undo()
            taken = await real(*given)
            await permit(box, unit)
            unit.key = ec.generate_private_key(ec.SECP256R1())
            await unit.issue(box)
            await unit.confirm(box)
            await settle(centre, await carry(box))
            return taken

        monkeypatch.setattr(readers, "take_in", take_in)
        assert problem(await old.ask()).code == "enrolment-under-way"
        await Owner(centre, unit, Watch(centre)).enrol()

    asyncio.run(play())
