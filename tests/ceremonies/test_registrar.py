"""The register: statements judged one by one, written together, remembered, and never forged unseen."""

import asyncio
from collections.abc import Callable

import pytest
from sqlalchemy import Update as SqlUpdate
from sqlalchemy import delete, update

from ceremonies.commands import (
    Decommission,
    Install,
    Move,
    Problem,
    RecordStatements,
    Replace,
    Return,
    Ship,
    Statement,
    StatementVerdict,
)
from ceremonies.fleet_tables import RegisterRequestRow, RegisterRow
from ceremonies.journal import JournalForked
from ceremonies.registered import check_register, list_decommissioned
from ceremonies.replay import replay_journal
from ceremonies.store import table_of
from pki.log.parties import Party, choose_entries
from tests.ceremonies.field import read_leaves
from tests.ceremonies.fielded import decommission, install, issue_some, say, say_all
from tests.world import PLANT, SITE, World, audit_world

ELSEWHERE = "hornsea-2"


def codes(verdicts: tuple[StatementVerdict, ...]) -> list[tuple[str, str]]:
    return [(verdict.state, verdict.code) for verdict in verdicts]


@pytest.mark.engines
@pytest.mark.req("EV-3")
def test_a_life_in_the_register(factory_world: World) -> None:
    async def play() -> None:
        one, two, three = await issue_some(factory_world, 3)
        both = factory_world.token("operator", plant=PLANT, site=[SITE, ELSEWHERE])
        await install(factory_world, [one])
        await say_all(factory_world, Move(one, ELSEWHERE, "r2", "A 7"), Ship(two, ELSEWHERE), token=both)
        await say_all(factory_world, Replace(one, two, "fan"), token=both)
        rows = {row["serial"]: row for row in factory_world.room.store.list(RegisterRow, "serial")}
        place = [rows[two][name] for name in ("state", "operator", "site", "rack", "asset", "link")]
        assert place == ["installed", "north-power", ELSEWHERE, "r2", "A 7", one]
        assert (rows[one]["state"], rows[one]["link"]) == ("replaced", two)
        await say_all(factory_world, Return(one, "fan"), Ship(one), token=both)
        await decommission(factory_world, one, three)

    asyncio.run(play())
    rows = {row["serial"]: row for row in factory_world.room.store.list(RegisterRow, "serial")}
    assert [row["state"] for row in rows.values()] == ["decommissioned", "installed", "decommissioned"]
    replay = factory_world.room.ledger.replay
    assert replay.register.tally.count == 3
    assert replay_journal(factory_world.room.store, factory_world.room.ledger.journal) == replay
    with factory_world.room.store.read() as connection:
        check_register(connection, replay.register.tally)
    kinds = [leaf.type for leaf in read_leaves(factory_world) if leaf.type.startswith("device.")]
    assert kinds.count("device.batch") == replay.register.requests == 5
    assert kinds.count("device.install") == 2
    assert asyncio.run(audit_world(factory_world)).verdict == "authenticated"


@pytest.mark.req("AU-10")
def test_a_site_s_export_has_what_was_said_of_its_devices(factory_world: World) -> None:
    async def play() -> None:
        one, two = await issue_some(factory_world, 2)
        await install(factory_world, [one])
        await say_all(factory_world, Ship(two))

    asyncio.run(play())
    leaves = list(enumerate(read_leaves(factory_world)))
    store = factory_world.room.store
    chosen = choose_entries(Party("site", SITE), lambda: leaves, store.blob)
    (index,) = chosen
    assert leaves[index][1].type == "device.install"
    assert choose_entries(Party("site", ELSEWHERE), lambda: leaves, store.blob) == frozenset()


def test_each_is_judged_alone_and_one_commit_holds_them(factory_world: World) -> None:
    async def play() -> None:
        one, two = await issue_some(factory_world, 2)
        before = factory_world.room.ledger.journal.size
        items: tuple[Statement, ...] = (
            Ship(one, SITE), Ship("BMS-000025"), Install(two, "acme", SITE), Install(one, "acme", SITE), Ship(one),
            Decommission(two, "dropped"), Return(two),
        )  # fmt: skip
        done = await say(factory_world, *items)
        assert codes(done.verdicts) == [
            ("shipped", ""), ("", "device-unknown"), ("issued", "state-refused"), ("installed", ""),
            ("installed", "state-refused"), ("decommissioned", ""), ("decommissioned", "state-refused"),
        ]  # fmt: skip
        assert factory_world.room.ledger.journal.size == before + 4  # the request's, and three statements
        leaf = factory_world.room.ledger.read_entry(done.index)[1]
        assert leaf.op and leaf.op.what and (leaf.op.what["done"], leaf.op.what["refused"]) == (3, 4)

    asyncio.run(play())


def test_the_same_request_gets_the_same_answer(factory_world: World) -> None:
    async def play() -> None:
        (one,) = await issue_some(factory_world, 1)
        first = await say(factory_world, Ship(one), name="ship-0001")
        size = factory_world.room.ledger.journal.size
        again = await say(factory_world, Ship(one), name="ship-0001")
        assert (again.verdicts, again.index, again.replayed) == (first.verdicts, first.index, True)
        other = await factory_world.try_ask(RecordStatements("ship-0001", (Return(one),)), "operator")
        assert isinstance(other, Problem) and other.code == "request-mismatch"
        stranger = factory_world.token("operator", sub="operator-2", plant=PLANT, site=SITE)
        own = await say(factory_world, Ship(one), name="ship-0001", token=stranger)
        assert codes(own.verdicts) == [("shipped", "state-refused")]
        assert size < own.index

    asyncio.run(play())


@pytest.mark.req("AZ-2")
def test_nobody_learns_where_another_site_s_device_is_by_naming_it_as_the_one_that_comes(factory_world: World) -> None:
    async def play() -> None:
        one, two = await issue_some(factory_world, 2)
        await install(factory_world, [one])
        await say_all(factory_world, Ship(two, ELSEWHERE))
        (refused,) = (await say(factory_world, Replace(one, two, "fan"))).verdicts
        assert (refused.code, ELSEWHERE in refused.message) == ("binding-mismatch", False)
        both = factory_world.token("operator", plant=PLANT, site=[SITE, ELSEWHERE])
        (astray,) = (await say(factory_world, Replace(one, two, "fan"), token=both)).verdicts
        assert astray.code == "place-refused"

    asyncio.run(play())


@pytest.mark.req("AZ-2")
def test_an_operator_speaks_of_the_own_plant_and_sites_only(factory_world: World) -> None:
    async def play() -> None:
        one, two, three = await issue_some(factory_world, 3)
        foreign = factory_world.token("operator", plant="elsewhere", site=ELSEWHERE)
        own_site = factory_world.token("operator", plant="elsewhere", site=SITE)
        mismatch = [("", "binding-mismatch")]
        assert codes((await say(factory_world, Ship(one), token=foreign)).verdicts) == mismatch
        await say_all(factory_world, Ship(one), Ship(two, SITE))
        lures = (Install(one, "acme", SITE), Install(two, "acme", ELSEWHERE))
        refused = await say(factory_world, *lures, token=foreign)
        assert codes(refused.verdicts) == [("", "binding-mismatch")] * 2
        both = factory_world.token("operator", plant=PLANT, site=[SITE, "graz-9"])
        astray = await say(factory_world, Install(two, "acme", "graz-9"), token=both)
        assert codes(astray.verdicts) == [("shipped", "place-refused")]
        await say_all(factory_world, Install(two, "acme", SITE), token=own_site)
        for lure in (Move(two, SITE), Return(two), Decommission(two, "x"), Replace(two, three)):
            assert codes((await say(factory_world, lure, token=foreign)).verdicts) == mismatch
        away = await say(factory_world, Move(two, ELSEWHERE))
        assert codes(away.verdicts) == mismatch
        assert SITE not in away.verdicts[0].message
        await say_all(factory_world, Install(one, "acme", SITE), token=own_site)

    asyncio.run(play())


@pytest.mark.parametrize("role", ["station", "officer", "auditor", "gateway", "pipeline"])
def test_other_roles_say_nothing(factory_world: World, role: str) -> None:
    answer = asyncio.run(factory_world.try_ask(RecordStatements("ship-0001", (Ship("BMS-000001"),)), role))
    assert isinstance(answer, Problem) and answer.code == "role-refused"


def test_a_device_is_replaced_by_another_of_its_class(factory_world: World) -> None:
    async def play() -> None:
        one, two = await issue_some(factory_world, 2)
        await install(factory_world, [one])
        for by, code in ((one, "place-refused"), ("BMS-000009", "device-unknown"), (two, "state-refused")):
            assert codes((await say(factory_world, Replace(one, by))).verdicts) == [("installed", code)]

    asyncio.run(play())


def forge_state(serial: str) -> SqlUpdate:
    return update(table_of(RegisterRow)).where(table_of(RegisterRow).c.serial == serial).values(state="decommissioned")


def forge_site(serial: str) -> SqlUpdate:
    return update(table_of(RegisterRow)).where(table_of(RegisterRow).c.serial == serial).values(site=ELSEWHERE)


@pytest.mark.req("AU-5")
@pytest.mark.parametrize("forge", [forge_state, forge_site])
def test_a_forged_row_is_seen_by_the_next_start(factory_world: World, forge: Callable[[str], SqlUpdate]) -> None:
    async def play() -> str:
        one, two = await issue_some(factory_world, 2)
        await install(factory_world, [one, two])
        await decommission(factory_world, two)
        return one

    serial = asyncio.run(play())
    room = factory_world.room
    assert list(list_decommissioned(room.store, room.ledger.replay.register)) == ["BMS-000002"]
    with room.store.write() as connection:
        connection.execute(forge(serial))
    if forge is forge_state:
        with pytest.raises(JournalForked):
            list_decommissioned(room.store, room.ledger.replay.register)
    factory_world.stop()
    with pytest.raises(JournalForked, match="register"):
        factory_world.start()


def test_a_forged_answer_is_not_believed(factory_world: World) -> None:
    async def play() -> None:
        (one,) = await issue_some(factory_world, 1)
        await say(factory_world, Ship(one), name="ship-0001")
        with factory_world.room.store.write() as connection:
            connection.execute(update(table_of(RegisterRequestRow)).values(seq=0))
        answer = await factory_world.try_ask(RecordStatements("ship-0001", (Ship(one),)), "operator")
        assert isinstance(answer, Problem) and answer.code == "journal-forked"
        with factory_world.room.store.write() as connection:
            connection.execute(delete(table_of(RegisterRequestRow)))

    asyncio.run(play())
    factory_world.stop()
    with pytest.raises(JournalForked, match="register_request"):
        factory_world.start()


def test_a_thousand_statements_are_one_commit(factory_world: World) -> None:
    items = tuple(Ship(f"NONE-{number}") for number in range(1000))
    done = asyncio.run(say(factory_world, *items))
    assert {verdict.code for verdict in done.verdicts} == {"device-unknown"}
    assert done.index == factory_world.room.ledger.journal.size - 1
