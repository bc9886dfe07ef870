"""Approvals are verified anew each time they are used; what the database says of them is not believed."""

import asyncio
import hashlib
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from ceremonies import commands
from ceremonies.approvals import parse_template, statement_bytes
from ceremonies.commands import CeremonyShown, DecideStep, ExecuteStep, Problem, ShowCeremony
from ceremonies.officers import Officer, Roster
from ceremonies.orders import StepRef
from ceremonies.quorums import CeremonyUnknown, Governing, Mandate, NotListed, demand_listed, load_step, shown_draft
from pki.jcs import jcs
from tests.ceremonies.examples import order_plan, read_leaves, write_sql
from tests.ceremonies.ssh_keys import make_key
from tests.world import World, plan_set, soft_keys

pytestmark = pytest.mark.engines

ROTATION = {
    "keys": [{"label": "oem-root-4", "role": "oem-root", "algorithm": "p256", "token": "kedge-main"}],
    "trust_set": plan_set(roots=(2, 3, 4)),
    "signers": ["oem-root-1", "oem-root-2"],
}


async def propose_order(world: World, name: str = "order") -> None:
    """A work order that alice proposes."""
    await world.ask(commands.OpenCeremony(name, "work-order", order_plan(name)), "officer", CeremonyShown)


async def template_of(world: World, name: str, step: str = "plan") -> bytes:
    """The statement template of a step."""
    shown = await world.ask(ShowCeremony(name), "local", CeremonyShown)
    return next(item.template for item in shown.steps if item.step == step)


async def refuse(world: World, name: str, step: str = "plan") -> str:
    """Try to execute a step; no key may come to be or be used, and the refusal is an entry. The code of the refusal."""
    box, before = soft_keys(world), world.room.ledger.journal.size
    keys, signed = set(box.keys), box.signed
    answer = await world.try_ask(ExecuteStep(name, step), "officer")
    assert isinstance(answer, Problem), answer
    assert (set(box.keys), box.signed) == (keys, signed)
    written = read_leaves(world, before)
    assert written
    assert not [leaf for leaf in written if leaf["type"].endswith(".intent") or leaf["type"] == "ceremony.close"]
    return answer.code


MUTATIONS: dict[str, Callable[[Any], Any]] = {
    "action": lambda _: "destroy",
    "ceremony": lambda _: "another",
    "step": lambda _: "results",
    "draft": lambda _: "0" * 64,
    "signers": lambda _: ["0" * 64],
    "summary": lambda value: value + ".",
    "params": lambda value: {**value, "more": 1},
    "policy_sha256": lambda _: "0" * 64,
    "software_sha256": lambda _: "0" * 64,
    "log_checkpoint": lambda value: {**value, "size": value["size"] + 1},
    "m": lambda value: value - 1,
    "n": lambda value: value + 1,
    "not_after": lambda value: value.replace("20", "21", 1),
    "nonce": lambda value: value[::-1],
    "chg": lambda _: "CHG-1",
    "type": lambda _: "kedge/approval/v2",
}


@pytest.mark.req("MP-2")
def test_an_approval_counts_under_the_roster_that_it_names_alone(genesis_world: World) -> None:
    door = genesis_world.room.door
    governing = door.require_governing()
    dave = Officer("dave", "officer dave", (make_key().line,), ("officer",))

    async def run() -> None:
        await propose_order(genesis_world)
        shown = await genesis_world.ask(ShowCeremony("order"), "local", CeremonyShown)
        named = parse_template(shown.steps[0].template).params["roster_sha256"]
        assert hashlib.sha256(shown.roster).hexdigest() == named == governing.roster.digest
        await genesis_world.approve("order", "plan", "bob", "carol")
        door.governing = msgspec.structs.replace(governing, roster=Roster((*governing.roster.officers, dave)))
        assert await refuse(genesis_world, "order") == "step-outdated"
        door.governing = governing
        await genesis_world.ask(ExecuteStep("order", "plan"), "officer", CeremonyShown)

    asyncio.run(run())


@pytest.mark.req("MP-2", "T9")
def test_a_statement_that_says_anything_else_is_no_approval(genesis_world: World) -> None:
    async def run() -> None:
        await propose_order(genesis_world)
        template = parse_template(await template_of(genesis_world, "order"))
        fields = json.loads(statement_bytes(template, "bob", "approve"))
        assert fields.keys() - {"officer", "decision"} == MUTATIONS.keys() - {"chg"}
        for name, mutate in MUTATIONS.items():
            statement = jcs({**fields, name: mutate(fields.get(name))})
            signature = genesis_world.officers["bob"].sign(statement).encode()
            answer = await genesis_world.try_ask(DecideStep("order", "plan", statement, signature), "officer")
            assert isinstance(answer, Problem), name
            assert answer.code == "approval-mismatch", name
            assert answer.details["fields"] == [name]
        shown = await genesis_world.ask(ShowCeremony("order"), "local", CeremonyShown)
        assert shown.steps[0].decisions == ()

    asyncio.run(run())


@pytest.mark.req("MP-2", "T10")
def test_an_approval_is_for_its_ceremony_and_its_step_alone(genesis_world: World) -> None:
    async def run() -> None:
        await genesis_world.propose("first", "trust-set", ROTATION)
        await genesis_world.ceremony("done", "work-order", json.loads(order_plan("done")))
        await propose_order(genesis_world, "second")
        await genesis_world.approve("first", "plan", "bob", "carol")
        await genesis_world.ask(ExecuteStep("first", "plan"), "officer", CeremonyShown)
        places = [("first", "plan"), ("first", "results"), ("done", "plan"), ("second", "plan")]
        for made in places:
            template = parse_template(await template_of(genesis_world, *made))
            statement = statement_bytes(template, "bob", "approve")
            signature = genesis_world.officers["bob"].sign(statement).encode()
            for used in places:
                answer = await genesis_world.try_ask(DecideStep(*used, statement, signature), "officer")
                if used == made and used in (("first", "results"), ("second", "plan")):
                    assert isinstance(answer, CeremonyShown)
                    continue
                assert isinstance(answer, Problem)
                assert answer.code in ("approval-mismatch", "step-done", "ceremony-over"), (made, used)

    asyncio.run(run())


@pytest.mark.req("MP-1", "T7")
@pytest.mark.parametrize("officers", [(), ("alice",), ("bob",)])
def test_too_few_officers_are_refused(genesis_world: World, officers: tuple[str, ...]) -> None:
    async def run() -> None:
        await genesis_world.propose("rotate", "trust-set", ROTATION)
        await propose_order(genesis_world)
        for name in ("rotate", "order"):
            await genesis_world.approve(name, "plan", *officers)
            assert await refuse(genesis_world, name) == "quorum-not-met"

    asyncio.run(run())


@pytest.mark.req("MP-1")
def test_too_few_officers_for_the_results_sign_nothing(genesis_world: World) -> None:
    async def run() -> None:
        await genesis_world.propose("rotate", "trust-set", ROTATION)
        await genesis_world.approve("rotate", "plan", "bob", "carol")
        await genesis_world.ask(ExecuteStep("rotate", "plan"), "officer", CeremonyShown)
        await genesis_world.approve("rotate", "results", "carol")
        assert await refuse(genesis_world, "rotate", "results") == "quorum-not-met"

    asyncio.run(run())


@pytest.mark.req("MP-9")
def test_one_rejection_blocks(genesis_world: World) -> None:
    async def run() -> None:
        await propose_order(genesis_world)
        await genesis_world.approve("order", "plan", "bob", "carol")
        await genesis_world.approve("order", "plan", "alice", decision="reject")
        assert await refuse(genesis_world, "order") == "quorum-not-met"
        answer = await genesis_world.try_ask(ExecuteStep("order", "plan"), "officer")
        assert isinstance(answer, Problem)
        assert answer.details == {"have": ["bob", "carol"], "missing": 0, "rejected_by": ["alice"]}

    asyncio.run(run())


def replacing(column: str, old: str, new: str) -> tuple[str, dict[str, str]]:
    """Write `new` for `old` in a column of the step."""
    value = f"CAST(replace(CAST({column} AS TEXT), :old, :new) AS BLOB)"
    return f"UPDATE step SET {column} = {value} WHERE ceremony = 'order'", {"old": old, "new": new}


COLUMNS = "INSERT INTO approval (ceremony, step, officer, statement, signature, seq, hash) SELECT"
TAMPERING: dict[str, tuple[str, dict[str, str], str]] = {
    "an approval inserted": (
        f"{COLUMNS} ceremony, step, 'carol', statement, signature, seq, hash FROM approval WHERE ceremony = 'order'",
        {},
        "journal-forked",
    ),
    "an approval renamed": ("UPDATE approval SET officer = 'carol' WHERE ceremony = 'order'", {}, "journal-forked"),
    "an approval altered": ("UPDATE approval SET statement = x'7b7d' WHERE ceremony = 'order'", {}, "journal-forked"),
    "an approval taken from another": (
        f"{COLUMNS} 'order', step, 'carol', statement, signature, seq, hash FROM approval "
        "WHERE ceremony = 'genesis' AND step = 'plan' AND officer = 'carol'",
        {},
        "journal-forked",
    ),
    "a rejection taken away": ("DELETE FROM approval WHERE ceremony = 'order'", {}, "journal-forked"),
    "another thing shown": (*replacing("shown", '"quantity":20', '"quantity":99'), "step-outdated"),
    "another action": ("UPDATE ceremony SET action = 'resume' WHERE id = 'order'", {}, "step-outdated"),
    "an action that is none": ("UPDATE ceremony SET action = 'gift' WHERE id = 'order'", {}, "action-unknown"),
    "another proposer": ("UPDATE ceremony SET proposer = 'bob' WHERE id = 'order'", {}, "step-outdated"),
    "another proposer, in the template too": (
        *replacing("template", '"proposer":"alice"', '"proposer":"bob"'),
        "step-outdated",
    ),
    "another change request": ("UPDATE ceremony SET chg = 'CHG-2' WHERE id = 'order'", {}, "step-outdated"),
    "another template": (*replacing("template", '"m":2', '"m":1'), "quorum-not-met"),
    "a kind that needs nobody": (*replacing("template", '["work-order"]', '["challenge"]'), "quorum-not-met"),
    "another date": (*replacing("template", '"not_after":"20', '"not_after":"21'), "quorum-not-met"),
    "another policy": (*replacing("template", '"policy_sha256":"', '"policy_sha256":"0000'), "approval-malformed"),
}


@pytest.mark.req("MP-3", "T5")
@pytest.mark.parametrize("name", TAMPERING)
def test_what_is_written_into_the_database_approves_nothing(genesis_world: World, name: str) -> None:
    statement, values, code = TAMPERING[name]

    async def run() -> None:
        await propose_order(genesis_world)
        await genesis_world.approve("order", "plan", "bob")
        if code != "journal-forked":
            await genesis_world.approve("order", "plan", "carol")
        write_sql(genesis_world, statement, **values)
        assert await refuse(genesis_world, "order") == code

    asyncio.run(run())


@pytest.mark.req("T5")
def test_a_template_for_a_kind_that_needs_nobody_closes_nothing(genesis_world: World) -> None:
    """Without a single approval, after every row that might say so says that none is needed."""

    async def run() -> None:
        await propose_order(genesis_world)
        template = await template_of(genesis_world, "order")
        free = template.replace(b'["work-order"]', b'["challenge"]').replace(b'"m":2', b'"m":0')
        assert free != template
        write_sql(genesis_world, "UPDATE step SET template = :new WHERE ceremony = 'order'", new=free)
        assert await refuse(genesis_world, "order") == "quorum-not-met"

    asyncio.run(run())


@pytest.mark.req("T10")
def test_a_closed_ceremony_stays_closed_whatever_its_rows_say(genesis_world: World) -> None:
    async def run() -> None:
        await genesis_world.ceremony("order", "work-order", json.loads(order_plan("order")))
        await genesis_world.ceremony("rotate", "trust-set", ROTATION)
        for name, step, code in (("order", "plan", "ceremony-over"), ("rotate", "results", "ceremony-over")):
            assert await refuse(genesis_world, name, step) == code
            write_sql(genesis_world, "UPDATE ceremony SET state = 'open' WHERE id = :id", id=name)
            assert await refuse(genesis_world, name, step) == "step-done"
            write_sql(
                genesis_world, "UPDATE step SET done = false WHERE ceremony = :id AND step = :step", id=name, step=step
            )
            if name == "order":
                write_sql(genesis_world, "DELETE FROM work_order WHERE id = 'order'")
            answer = await genesis_world.try_ask(ExecuteStep(name, step), "officer")
            assert isinstance(answer, Problem)
            assert answer.code == code

    asyncio.run(run())


def test_a_draft_that_nobody_approved_is_not_listed(genesis_world: World) -> None:
    draft = shown_draft("trust-set", b"{}")
    mandate = Mandate("rotate", "trust-set", "", {"drafts": [{"digest": draft.digest}]}, ())
    demand_listed(mandate, draft)
    with pytest.raises(NotListed, match="not in the approved list of rotate"):
        demand_listed(mandate, shown_draft("trust-set", b"[]"))
    with pytest.raises(NotListed):
        demand_listed(Mandate("rotate", "trust-set", "", {}, ()), draft)


def test_genesis_takes_everyone(genesis_world: World) -> None:
    governing = genesis_world.room.door.require_governing()
    at_genesis = Governing(governing.roster, governing.policy, "genesis")
    assert (at_genesis.rule_for("work-order", "genesis").m, at_genesis.rule_for("challenge", "genesis").m) == (3, 3)
    assert at_genesis.rule_for("work-order", "another").m == governing.rule_for("work-order", "genesis").m == 2


def test_an_unknown_step_is_named(genesis_world: World) -> None:
    for step in (StepRef("genesis", "minutes"), StepRef("nowhere", "plan")):
        with pytest.raises(CeremonyUnknown, match=f"no step {step.step} in a ceremony {step.ceremony}"):
            load_step(genesis_world.room.store, step)


@pytest.mark.req("MP-1", "T5")
def test_the_proposer_is_the_one_that_the_approvals_name(genesis_world: World) -> None:
    async def run() -> None:
        await propose_order(genesis_world)
        await genesis_world.approve("order", "plan", "bob", "carol")
        assert parse_template(await template_of(genesis_world, "order")).params["proposer"] == "alice"
        room = genesis_world.room
        mandate = await room.act(lambda: room.door.mandate(StepRef("order", "plan"), "work-order"))
        assert mandate.proposer == "alice"

    asyncio.run(run())
    opened = [leaf["op"]["what"] for leaf in read_leaves(genesis_world) if leaf["type"] == "ceremony.open"]
    assert [what["proposer"] for what in opened] == ["", "alice"]
