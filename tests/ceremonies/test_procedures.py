"""Ceremonies go step by step: resumable after a crash, never twice, nothing without its mandate."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from ceremonies import commands
from ceremonies.commands import CeremonyShown, ExecuteStep, Problem, ShowCeremony
from ceremonies.desk import LOCAL_ACTOR
from ceremonies.errors import PolicyRefuses
from ceremonies.orders import Order, StepRef
from ceremonies.plans import RotationPlan, read_plan
from ceremonies.procedures import demand_step, list_kinds, show_results, signers_of
from ceremonies.quorums import StepOutdated
from ceremonies.trustsets import KeyBook, build_set, cose_key, newest_set
from pki.jcs import jcs
from pki.trust.links import draft_trust_set
from tests.ceremonies.examples import order_plan, read_leaves, write_sql
from tests.ceremonies.templates import Keys, new_world, on_both_keys
from tests.ceremonies.test_quorums import ROTATION
from tests.engines import SQLITE_ONLY
from tests.world import World, audit_world, plan_keys, token_keys


class PowerCut(RuntimeError):
    """The test's own crash."""


def cut(real: Callable[..., Any], number: int, *, after: bool) -> Callable[..., Any]:
    """A function that fails at its `number`th call, before or after it has done its work; then it works again."""
    calls = [0]

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if calls[0] != number:
            return real(*args, **kwargs)
        if after:
            real(*args, **kwargs)
        raise PowerCut

    return wrapped


def restart(world: World) -> None:
    """The process ends and starts again on the same tokens."""
    world.stop()
    world.start()


def cut_method(world: World, method: str, number: int, *, after: bool) -> None:
    box: Any = world.room.door.strongbox
    setattr(box, method, cut(getattr(box, method), number, after=after))


@pytest.mark.req("MP-4", "AU-1")
@pytest.mark.parametrize("restarts", [True, False], ids=["restarted", "resumed"])
@on_both_keys
def test_genesis_goes_on_after_power_cuts(tmp_path: Path, keys: Keys, restarts: bool) -> None:
    world = new_world(tmp_path, SQLITE_ONLY, keys).start()

    async def open_genesis() -> None:
        plan = json.dumps(world.genesis_plan()).encode()
        await world.ask(commands.OpenGenesis("genesis", plan), "local", CeremonyShown)
        await world.approve("genesis", "plan", "alice", "bob", "carol")

    async def fail(step: str) -> None:
        with capture_logs() as logged:
            answer = await world.try_ask(ExecuteStep("genesis", step), "local")
        assert isinstance(answer, Problem)
        assert answer.code == "internal-error"
        assert [entry["error"] for entry in logged] == ["PowerCut"]

    asyncio.run(open_genesis())
    for method, number, after in (("generate", 3, False), ("generate", 4, True), ("random", 1, False)):
        cut_method(world, method, number, after=after)
        asyncio.run(fail("plan"))
        if restarts:
            restart(world)
    asyncio.run(world.ask(ExecuteStep("genesis", "plan"), "local", CeremonyShown))
    asyncio.run(world.approve("genesis", "results", "alice", "bob", "carol"))
    for number, after in ((2, True), (5, False)):
        cut_method(world, "start", number, after=after)
        asyncio.run(fail("results"))
        if restarts:
            restart(world)
    asyncio.run(world.ask(ExecuteStep("genesis", "results"), "local", CeremonyShown))
    check_genesis(world)
    world.stop()


def check_genesis(world: World) -> None:
    """Each key and each document of the plan exists once, on the tokens too, and the journal is whole."""
    wanted = sorted(key["label"] for key in plan_keys())
    assert sorted(key.label for key in world.room.door.keyring) == wanted
    assert len(token_keys(world)) == len(wanted)
    shown = asyncio.run(world.ask(ShowCeremony("genesis"), "local", CeremonyShown))
    assert shown.state == "closed"
    names = [name for _, name, _ in shown.documents]
    authorities = ["identity-root", "device-ca", "site-ca", "service-ca"]
    assert sorted(names) == sorted([*authorities, "set-0-0", "birth-package-bms-stm32h7"])
    report = asyncio.run(audit_world(world))
    assert (report.verdict, report.open) == ("authenticated", 0)


@pytest.mark.req("MP-4")
@on_both_keys
def test_steps_have_an_order_and_happen_once(genesis_world: World) -> None:
    async def try_step(name: str, step: str) -> str:
        answer = await genesis_world.try_ask(ExecuteStep(name, step), "officer")
        return answer.code if isinstance(answer, Problem) else "done"

    async def run() -> None:
        await genesis_world.propose("rotate", "trust-set", ROTATION)
        assert await try_step("rotate", "results") == "ceremony-unknown"
        await genesis_world.approve("rotate", "plan", "bob", "carol")
        assert [await try_step("rotate", "plan") for _ in range(2)] == ["done", "step-done"]
        assert await try_step("rotate", "results") == "quorum-not-met"
        await genesis_world.approve("rotate", "results", "bob", "carol")
        assert [await try_step("rotate", "results") for _ in range(2)] == ["done", "ceremony-over"]
        assert await try_step("rotate", "plan") == "ceremony-over"

    asyncio.run(run())


@on_both_keys
def test_two_executions_at_once_are_one(genesis_world: World) -> None:
    async def run() -> None:
        await genesis_world.propose("rotate", "trust-set", ROTATION)
        for step, other in (("plan", "step-done"), ("results", "ceremony-over")):
            await genesis_world.approve("rotate", step, "bob", "carol")
            command = ExecuteStep("rotate", step)
            answers = await asyncio.gather(*(genesis_world.try_ask(command, "officer") for _ in range(4)))
            assert sorted(a.code if isinstance(a, Problem) else "" for a in answers) == ["", other, other, other]

    asyncio.run(run())
    kinds = [leaf["type"] for leaf in read_leaves(genesis_world) if leaf.get("cer") == "rotate"]
    assert (kinds.count("key.generate.intent"), kinds.count("ceremony.close")) == (1, 1)


@pytest.mark.req("MP-2")
def test_a_plan_that_only_leads_to_drafts_needs_its_approvals_too(genesis_world: World) -> None:
    """No key is made under this plan, so nothing but the opening of the results asks for its mandate."""

    async def run() -> None:
        plan = {"class_name": "bms-stm32h7", "domain": 2, "floor_from": 0, "floor_to": 1, "confirmed": 2, "soak": 600}
        await genesis_world.propose("raise", "counter-update", plan)
        await genesis_world.approve("raise", "plan", "bob")
        answer = await genesis_world.try_ask(ExecuteStep("raise", "plan"), "officer")
        assert isinstance(answer, Problem)
        assert answer.code == "quorum-not-met"
        await genesis_world.approve("raise", "plan", "carol")
        shown = await genesis_world.ask(ExecuteStep("raise", "plan"), "officer", CeremonyShown)
        assert [step.step for step in shown.steps] == ["plan", "results"]

    asyncio.run(run())


@pytest.mark.req("MP-2", "T5")
def test_the_results_are_those_of_the_approved_plan(genesis_world: World) -> None:
    async def run() -> str:
        await genesis_world.propose("rotate", "trust-set", ROTATION)
        await genesis_world.approve("rotate", "plan", "bob", "carol")
        await genesis_world.ask(ExecuteStep("rotate", "plan"), "officer", CeremonyShown)
        await genesis_world.approve("rotate", "results", "bob", "carol")
        # Harmless for the drafts, and yet not what the officers saw.
        changed = "CAST(replace(CAST(shown AS TEXT), 'kedge/plan', 'other/plan') AS BLOB)"
        write_sql(genesis_world, f"UPDATE step SET shown = {changed} WHERE ceremony = 'rotate' AND step = 'plan'")
        answer = await genesis_world.try_ask(ExecuteStep("rotate", "results"), "officer")
        assert isinstance(answer, Problem)
        return answer.code

    assert asyncio.run(run()) == "step-outdated"


@pytest.mark.req("MP-2", "T5")
def test_results_by_another_recipe_are_not_listed(genesis_world: World) -> None:
    async def run() -> Problem:
        await genesis_world.propose("rotate", "trust-set", ROTATION)
        await genesis_world.approve("rotate", "plan", "bob", "carol")
        await genesis_world.ask(ExecuteStep("rotate", "plan"), "officer", CeremonyShown)
        await genesis_world.approve("rotate", "results", "bob", "carol")
        recipe = "CAST(replace(CAST(recipe AS TEXT), '{\"now\":', '{\"now\":1') AS BLOB)"
        changed = recipe.replace(":", "\\:")
        write_sql(genesis_world, f"UPDATE step SET recipe = {changed} WHERE ceremony = 'rotate' AND step = 'results'")
        answer = await genesis_world.try_ask(ExecuteStep("rotate", "results"), "officer")
        assert isinstance(answer, Problem)
        return answer

    assert asyncio.run(run()).code == "not-listed"


@pytest.mark.req("MP-2", "HS-4")
def test_an_approved_step_seals_no_other_draft(genesis_world: World) -> None:
    async def run() -> None:
        room = genesis_world.room
        await genesis_world.propose("rotate", "trust-set", ROTATION)
        await genesis_world.approve("rotate", "plan", "bob", "carol")
        await genesis_world.ask(ExecuteStep("rotate", "plan"), "officer", CeremonyShown)
        await genesis_world.approve("rotate", "results", "bob", "carol")
        plan = read_plan(json.dumps(ROTATION).encode(), RotationPlan)
        fleet, previous = genesis_world.policy.fleet, newest_set(room.store)
        new = build_set(KeyBook(room.door.keyring, room.store.blob), fleet, plan.trust_set, previous, 1_700_000_000)
        signers = [cose_key(room.store, room.door.keyring.labelled(label).spki) for label in plan.signers]
        draft = draft_trust_set(new, previous, signers)
        # The new root is active only when the approved results are executed: use the state, not the approvals.
        await genesis_world.ask(ExecuteStep("rotate", "results"), "officer", CeremonyShown)
        order = Order(draft=draft, by=LOCAL_ACTOR, name="forged", step=StepRef("rotate", "results"))
        with pytest.raises(Exception, match="closed"):
            await room.seal(order)
        with pytest.raises(Exception, match="no step none"):
            await room.seal(Order(draft=draft, by=LOCAL_ACTOR, name="forged"))

    asyncio.run(run())


@pytest.mark.req("MP-2")
def test_a_mandate_is_for_one_action_and_all_its_kinds(genesis_world: World) -> None:
    room, step = genesis_world.room, StepRef("order", "plan")

    async def demand(action: str, *kinds: str) -> str:
        return (await room.act(lambda: demand_step(room, step, (action, kinds)))).action

    async def run() -> None:
        command = commands.OpenCeremony("order", "work-order", order_plan("order"))
        await genesis_world.ask(command, "officer", CeremonyShown)
        await genesis_world.approve("order", "plan", "bob", "carol")
        assert await demand("work-order", "work-order") == "work-order"
        for action, kinds in (("resume", ("work-order",)), ("work-order", ())):
            with pytest.raises(StepOutdated, match="is none of"):
                await demand(action, *kinds)
        with pytest.raises(PolicyRefuses):
            await demand("work-order", "work-order", "certificate.gift")

    asyncio.run(run())


def test_what_officers_see_of_results(genesis_world: World) -> None:
    room = genesis_world.room
    plan = {"keys": [{"label": "counter-1"}], "states": {"active": ["counter-1"]}}
    shown = show_results(room, plan, ())
    (key,) = shown["keys"]
    assert (key["label"], key["role"]) == ("counter-1", "counter")
    assert shown["plan"] != show_results(room, {**plan, "more": 1}, ())["plan"]
    assert signers_of(jcs(shown)) == ()
    assert list_kinds(plan, ()) == ["key.active"]


def test_an_id_is_used_once(genesis_world: World) -> None:
    async def run() -> None:
        command = commands.OpenCeremony("twice", "work-order", order_plan("twice"))
        answers = await asyncio.gather(*(genesis_world.try_ask(command, "officer") for _ in range(3)))
        codes = sorted(answer.code if isinstance(answer, Problem) else "" for answer in answers)
        assert codes == ["", "ceremony-exists", "ceremony-exists"]

    asyncio.run(run())
