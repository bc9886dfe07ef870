"""Officers against the keyroom, and the keyroom against one officer: quorums, expiry, break-glass, bypasses."""

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from ceremonies import commands
from ceremonies.approvals import parse_template, statement_bytes, verify_approval
from ceremonies.commands import CeremonyShown, DecideStep, ExecuteStep, KeysListed, Problem, SuspendKey
from ceremonies.journal import ClockWentBack
from ceremonies.officers import Officer, Roster, parse_roster
from pki.jcs import jcs
from tests.ceremonies.examples import order_plan, read_leaves
from tests.ceremonies.ssh_keys import OfficerKey, make_key
from tests.ceremonies.test_quorums import ROTATION
from tests.world import World, audit_world, export_journal, soft_keys, soft_world

WEEK_US = 7 * 86_400_000_000


async def propose_order(world: World, name: str = "order") -> CeremonyShown:
    """A work order that alice proposes."""
    return await world.ask(commands.OpenCeremony(name, "work-order", order_plan(name)), "officer", CeremonyShown)


def execute(world: World, name: str, step: str = "plan") -> str:
    """Execute a step as the keyroom's own user: the code of the refusal, or nothing."""
    answer = asyncio.run(world.try_ask(ExecuteStep(name, step), "local"))
    return answer.code if isinstance(answer, Problem) else ""


def sign_with(world: World, key: OfficerKey, name: str, officer: str) -> str:
    """Decide the plan step with a certain key: the code of the refusal, or nothing."""

    async def run() -> str:
        shown = await world.ask(commands.ShowCeremony(name), "local", CeremonyShown)
        statement = statement_bytes(parse_template(shown.steps[0].template), officer, "approve")
        answer = await world.try_ask(DecideStep(name, "plan", statement, key.sign(statement).encode()), "officer")
        return answer.code if isinstance(answer, Problem) else ""

    return asyncio.run(run())


@pytest.fixture
def two_keys(tmp_path: Path) -> Iterator[tuple[World, OfficerKey]]:
    """A world after genesis in which alice has a second key."""
    world, second = soft_world(tmp_path), make_key("ecdsa-sha2-nistp256")
    keys: dict[str, tuple[str, ...]] = {name: (key.line,) for name, key in world.officers.items()}
    keys["alice"] += (second.line,)
    world.roster = Roster(tuple(Officer(name, f"officer {name}", lines, ("officer",)) for name, lines in keys.items()))
    world.start()
    asyncio.run(world.genesis())
    yield world, second
    world.stop()


@pytest.mark.req("MP-1", "T7")
def test_one_person_with_two_keys_counts_once(two_keys: tuple[World, OfficerKey]) -> None:
    world, second = two_keys
    asyncio.run(propose_order(world))
    assert sign_with(world, world.officers["alice"], "order", "alice") == ""
    assert sign_with(world, second, "order", "alice") == "already-decided"
    assert sign_with(world, second, "order", "bob") == "approval-unsigned"
    assert execute(world, "order") == "quorum-not-met"
    assert sign_with(world, world.officers["carol"], "order", "carol") == ""
    assert execute(world, "order") == ""


@pytest.mark.engines
@pytest.mark.req("MP-2")
def test_an_approval_expires(genesis_world: World) -> None:
    asyncio.run(propose_order(genesis_world))
    asyncio.run(genesis_world.approve("order", "plan", "bob", "carol"))
    genesis_world.stop()
    real = genesis_world.around.now_us
    genesis_world.around = msgspec.structs.replace(genesis_world.around, now_us=lambda: real() + WEEK_US + 60_000_000)
    genesis_world.start()
    assert execute(genesis_world, "order") == "quorum-not-met"
    genesis_world.stop()
    genesis_world.around = msgspec.structs.replace(genesis_world.around, now_us=lambda: real() + WEEK_US - 60_000_000)
    # The journal has seen the later time: going back makes nothing young again.
    with pytest.raises(ClockWentBack):
        genesis_world.start()


@pytest.mark.req("MP-2")
def test_an_approval_lasts_its_week(genesis_world: World) -> None:
    asyncio.run(propose_order(genesis_world))
    asyncio.run(genesis_world.approve("order", "plan", "bob", "carol"))
    genesis_world.stop()
    real = genesis_world.around.now_us
    genesis_world.around = msgspec.structs.replace(genesis_world.around, now_us=lambda: real() + WEEK_US - 60_000_000)
    genesis_world.start()
    assert execute(genesis_world, "order") == ""


@pytest.mark.req("MP-2")
def test_other_software_needs_other_approvals(genesis_world: World) -> None:
    asyncio.run(propose_order(genesis_world))
    asyncio.run(genesis_world.approve("order", "plan", "bob", "carol"))
    genesis_world.stop()
    genesis_world.around = msgspec.structs.replace(genesis_world.around, software="0" * 64)
    genesis_world.start()
    assert execute(genesis_world, "order") == "step-outdated"
    asyncio.run(propose_order(genesis_world, "again"))
    asyncio.run(genesis_world.approve("again", "plan", "bob", "carol"))
    assert execute(genesis_world, "again") == ""


@pytest.mark.req("MP-11")
def test_break_glass_stops_and_never_starts(genesis_world: World) -> None:
    started = time.monotonic()
    asyncio.run(genesis_world.ask(SuspendKey("oem-root-1", "lost token"), "officer", KeysListed))
    assert time.monotonic() - started < 1
    plan = {"labels": ["oem-root-1"], "reason": "found again"}
    asyncio.run(genesis_world.propose("resume", "resume", plan))
    for officers, code in (((), "quorum-not-met"), (("alice",), "quorum-not-met"), (("bob",), "")):
        asyncio.run(genesis_world.approve("resume", "plan", *officers))
        assert execute(genesis_world, "resume") == code
    assert genesis_world.room.door.keyring.labelled("oem-root-1").state == "active"
    # The approvals of a closed ceremony start nothing a second time.
    asyncio.run(genesis_world.ask(SuspendKey("oem-root-1", "again"), "officer", KeysListed))
    assert execute(genesis_world, "resume") == "ceremony-over"
    assert genesis_world.room.door.keyring.labelled("oem-root-1").state == "suspended"


@pytest.mark.req("MP-3")
def test_approvals_verify_offline(genesis_world: World) -> None:
    """From an export alone, without a server: who approved what, by which key."""
    asyncio.run(genesis_world.ceremony("order", "work-order", json.loads(order_plan("order"))))
    files = asyncio.run(export_journal(genesis_world))
    blobs = {path.rsplit("/", 1)[1]: data for path, data in files.items() if path.startswith("blob/")}
    roster = parse_roster(genesis_world.roster.document)
    assert blobs[roster.digest] == genesis_world.roster.document
    checked = set()
    for leaf in read_leaves(genesis_world):
        if leaf["type"] == "approval":
            what = leaf["op"]["what"]
            statement, signature = blobs[what["statement"]], blobs[what["signature"]].decode()
            fields = json.loads(statement)
            del fields["officer"], fields["decision"]
            approval = verify_approval(parse_template(jcs(fields)), statement, signature, roster)
            assert (approval.officer, approval.decision) == (what["officer"], what["decision"])
            checked.add((what["ceremony"], what["step"], what["officer"]))
    everyone = {("genesis", step, name) for step in ("plan", "results") for name in ("alice", "bob", "carol")}
    assert checked == everyone | {("order", "plan", "bob"), ("order", "plan", "carol")}


@pytest.mark.req("AZ-3", "T6")
def test_the_host_has_no_way_around_the_quorum(genesis_world: World) -> None:
    """The keyroom's own user may execute and carry statements; he may not propose, stop, issue or sign."""

    async def try_local(command: commands.AnyCommand) -> str:
        answer = await genesis_world.try_ask(command, "local")
        return answer.code if isinstance(answer, Problem) else ""

    async def run() -> None:
        tries: list[tuple[commands.AnyCommand, str]] = [
            (commands.OpenCeremony("x", "work-order", order_plan("x")), "token-missing"),
            (SuspendKey("director", "x"), "token-missing"),
            (commands.OpenGenesis("again", json.dumps(genesis_world.genesis_plan()).encode()), "genesis-refused"),
            (ExecuteStep("genesis", "plan"), "ceremony-over"),
        ]
        for command, code in tries:
            assert await try_local(command) == code
        await genesis_world.propose("rotate", "trust-set", ROTATION)
        keys = set(soft_keys(genesis_world).keys)
        assert await try_local(ExecuteStep("rotate", "plan")) == "quorum-not-met"
        assert set(soft_keys(genesis_world).keys) == keys

    asyncio.run(run())


@pytest.mark.engines
@pytest.mark.req("MP-1")
def test_a_whole_rotation_by_two_of_three(genesis_world: World) -> None:
    shown = asyncio.run(genesis_world.ceremony("rotate", "trust-set", ROTATION, "alice", "carol"))
    assert shown.state == "closed"
    assert [step.decisions for step in shown.steps] == [(("alice", "approve"), ("carol", "approve"))] * 2
    assert [name for _, name, _ in shown.documents] == ["set-0-1"]
    report = asyncio.run(audit_world(genesis_world))
    assert (report.verdict, report.open) == ("authenticated", 0)
