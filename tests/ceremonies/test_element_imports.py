"""Manifests: judged before officers are asked, and imported as a whole or not at all."""

import asyncio
import json

import pytest

from ceremonies import element_imports
from ceremonies.commands import CheckManifest, ElementsListed, ListElements, ManifestChecked, Problem
from ceremonies.element_tables import ElementRow
from tests.ceremonies.field import execute, problem, propose, read_leaves, upload
from tests.ceremonies.lines import check_books
from tests.ceremonies.protected import FOUNDRY, import_elements, run
from tests.engines import tamper
from tests.makers import make_key
from tests.world import World, audit_world

KEYS = [make_key() for _ in range(4)]


async def check(world: World, data: bytes) -> ManifestChecked:
    return await world.ask(CheckManifest(await upload(world, data)), "officer", ManifestChecked)


async def plan(world: World, data: bytes) -> dict[str, str]:
    return {"file": await upload(world, data), "reason": "delivery 7"}


@pytest.mark.req("CA-2")
@pytest.mark.engines
def test_officers_import_a_manifest_as_a_whole(protected_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(element_imports, "PAGE", 2)
    world, manifest = protected_world, FOUNDRY.deliver(*KEYS)

    async def play() -> Problem:
        checked = await check(world, manifest)
        assert (checked.parts, checked.bad) == ({"ATECC608B-TFLXTLSS": 4}, ())
        await import_elements(world, "delivery-1", manifest)
        again = await check(world, FOUNDRY.deliver(make_key(), KEYS[3], first=4))
        assert [item.entry for item in again.bad] == [1, 2]
        return problem(await propose(world, "delivery-2", "elements-import", await plan(world, manifest)))

    refused = asyncio.run(play())
    assert (refused.code, refused.details["bad_count"]) == ("import-refused", 4)
    assert "known by entry" in refused.details["bad"][0]
    (head,) = [leaf for leaf in read_leaves(world) if leaf.type == "element.import"]
    assert head.apr and {item.officer for item in head.apr} == {"bob", "carol"}
    assert head.op and head.op.what and head.op.what["count"] == 4
    check_books(world)
    assert asyncio.run(audit_world(world)).verdict == "authenticated"
    world.stop()
    world.start()
    assert world.room.ledger.replay.elements.tally.count == 4


def test_one_bad_entry_and_nothing_is_imported(protected_world: World) -> None:
    world = protected_world
    entries = json.loads(FOUNDRY.deliver(*KEYS))
    entries[2]["signature"] = entries[1]["signature"]
    data = json.dumps(entries).encode()

    async def play() -> Problem:
        checked = await check(world, data)
        assert [item.entry for item in checked.bad] == [3]
        return problem(await propose(world, "delivery-1", "elements-import", await plan(world, data)))

    assert asyncio.run(play()).details["bad"][0].startswith("entry 3: ")
    assert world.room.store.list(ElementRow, "spki") == []


def test_what_was_imported_meanwhile_stops_the_import(protected_world: World) -> None:
    world = protected_world

    async def play() -> Problem:
        await world.propose("late", "elements-import", await plan(world, FOUNDRY.deliver(*KEYS)))
        await world.approve("late", "plan", "bob", "carol")
        await import_elements(world, "early", FOUNDRY.deliver(make_key(), KEYS[0], first=7))
        return problem(await execute(world, "late", "plan"))

    assert asyncio.run(play()).code == "import-refused"
    assert len(world.room.store.list(ElementRow, "spki")) == 2


@pytest.mark.req("T5")
def test_what_was_taken_from_the_database_is_not_imported_again(protected_world: World) -> None:
    world, manifest = protected_world, FOUNDRY.deliver(*KEYS)
    run(import_elements(world, "first", manifest))
    tamper(world.room.store, "DELETE FROM element")

    async def play() -> Problem:
        await world.propose("second", "elements-import", await plan(world, manifest))
        await world.approve("second", "plan", "bob", "carol")
        return problem(await execute(world, "second", "plan"))

    assert asyncio.run(play()).code == "journal-forked"


def test_elements_are_listed_page_by_page(protected_world: World) -> None:
    world = protected_world
    run(import_elements(world, "first", FOUNDRY.deliver(*KEYS)))

    async def play() -> list[str]:
        found, after = [], ""
        while True:
            page = await world.ask(ListElements(after, 3), "auditor", ElementsListed)
            found += [item.key for item in page.elements]
            after = page.following
            if not after:
                return found

    found = asyncio.run(play())
    assert found == sorted(found)
    assert len(found) == 4


@pytest.mark.req("AZ-2")
def test_only_officers_look_at_manifests(protected_world: World) -> None:
    roles = ("operator", "auditor", "station", "officer")
    answers = run(*(protected_world.try_ask(CheckManifest("00" * 32), role) for role in roles))
    assert [answer.code for answer in answers] == ["role-refused"] * 3 + ["artefact-missing"]
