"""Baselines: each version is a release that exists; the newest one is handed out with its proof."""

import asyncio

import pytest

from ceremonies.baselines import find_baseline
from ceremonies.commands import DocumentRead, Problem, QueryFleet, ReadBaseline
from ceremonies.trustsets import newest_set
from pki.trust.baselines import verify_baseline
from tests.ceremonies.field import problem, propose
from tests.ceremonies.rotated import Fleet
from tests.engines import tamper
from tests.world import World, audit_world

PLAN = {"releases": ["release-2.4.0"]}


def test_the_newest_baseline_is_handed_out(moved: Fleet) -> None:
    world = moved.world

    async def play() -> DocumentRead:
        none = problem(await world.try_ask(ReadBaseline(), "gateway"))
        assert none.code == "baseline-unknown"
        await world.ceremony("baseline-1", "baseline", {"releases": ["release-2.3.0"]})
        await world.ceremony("baseline-2", "baseline", PLAN)
        return await world.ask(ReadBaseline(), "gateway", DocumentRead)

    read = asyncio.run(play())
    baseline = verify_baseline(newest_set(world.room.store), read.document)
    assert (read.name, baseline.sequence) == ("baseline-2", 2)
    (item,) = baseline.classes.values()
    assert item.version == (2, 4, 0)
    assert find_baseline(world.room) == baseline
    assert asyncio.run(audit_world(world)).verdict == "authenticated"


@pytest.mark.parametrize(
    "releases", [[], ["release-9.9.9"], ["release-2.3.0", "release-2.4.0"], ["release-2.4.0", "release-2.4.0"]]
)
def test_what_no_release_is_is_no_baseline(moved: Fleet, releases: list[str]) -> None:
    answer = asyncio.run(propose(moved.world, "baseline-1", "baseline", {"releases": releases}))
    assert problem(answer).code == "plan-malformed"


@pytest.mark.req("T5")
def test_a_release_row_that_its_manifest_does_not_bear_out_is_refused(moved: Fleet) -> None:
    tamper(moved.world.room.store, "UPDATE release SET version = '9.9.9' WHERE id = 'release-2.4.0'")
    assert problem(asyncio.run(propose(moved.world, "baseline-1", "baseline", PLAN))).code == "plan-malformed"


@pytest.mark.req("T5")
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE baseline SET document = (SELECT document FROM baseline WHERE sequence = 1) WHERE sequence = 2",
        "DELETE FROM baseline WHERE sequence = 2",
    ],
)
def test_an_older_baseline_is_not_handed_out_for_the_newest(moved: Fleet, statement: str) -> None:
    world = moved.world

    async def play() -> list[Problem]:
        await world.ceremony("baseline-1", "baseline", {"releases": ["release-2.3.0"]})
        await world.ceremony("baseline-2", "baseline", PLAN)
        tamper(world.room.store, statement)
        queried = await world.try_ask(QueryFleet(off_baseline=True), "officer")
        return [problem(await world.try_ask(ReadBaseline(), "gateway")), problem(queried)]

    assert [item.code for item in asyncio.run(play())] == ["journal-forked"] * 2


@pytest.mark.parametrize("role", ["station", "pipeline"])
def test_a_baseline_is_for_staff_and_gateways(genesis_world: World, role: str) -> None:
    answer = asyncio.run(genesis_world.try_ask(ReadBaseline(), role))
    assert isinstance(answer, Problem) and answer.code == "role-refused"
