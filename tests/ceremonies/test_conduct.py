"""Ceremonies as callers see them: propose, look, decide, stop."""

import asyncio
import json
import threading
import time
from typing import Any

import pytest

from ceremonies import commands
from ceremonies.approvals import parse_template, statement_bytes
from ceremonies.commands import CeremonyShown, DecideStep, ExecuteStep, KeysListed, OpenCeremony, Problem, SuspendKey
from ceremonies.store import Store
from tests.ceremonies.examples import order_plan, read_leaves, write_sql
from tests.ceremonies.field import sign_release
from tests.ceremonies.templates import on_both_keys
from tests.ceremonies.test_quorums import ROTATION
from tests.world import World


def ask(world: World, command: commands.AnyCommand, role: str = "officer", token: str = "") -> object:
    """The answer; the code alone when it is a problem."""
    answer = asyncio.run(world.try_ask(command, role, token))
    return answer.code if isinstance(answer, Problem) else answer


ORDER = OpenCeremony("order", "work-order", order_plan("order"), "CHG-7")


def test_a_ceremony_is_shown_as_it_was_opened(genesis_world: World) -> None:
    shown = ask(genesis_world, ORDER)
    assert isinstance(shown, CeremonyShown)
    assert (shown.id, shown.action, shown.state, shown.proposer, shown.chg) == (
        "order", "work-order", "open", "alice", "CHG-7",
    )  # fmt: skip
    assert shown.plan == ORDER.plan
    (step,) = shown.steps
    assert (step.step, step.done, step.decisions) == ("plan", False, ())
    assert json.loads(step.shown)["content"]["quantity"] == 20
    template = parse_template(step.template)
    assert (template.m, template.n, template.chg, template.ceremony) == (2, 3, "CHG-7", "order")
    assert template.policy_sha256 == genesis_world.policy.digest
    listed = ask(genesis_world, commands.ListCeremonies())
    assert isinstance(listed, commands.CeremoniesListed)
    assert listed.ceremonies == (("order", "work-order", "open", "alice"), ("genesis", "genesis", "closed", ""))


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (OpenCeremony("x", "genesis", b"{}"), "action-unknown"),
        (OpenCeremony("x", "gift", b"{}"), "action-unknown"),
        (OpenCeremony("x", "work-order", b"{}"), "plan-malformed"),
        (OpenCeremony("x", "work-order", order_plan("x", class_name="toaster")), "class-unknown"),
        (OpenCeremony("x", "work-order", order_plan("x", profile="device-ca")), "plan-malformed"),
        (OpenCeremony("x", "resume", b'{"labels":["director"],"reason":"x"}'), "plan-malformed"),
        (OpenCeremony("x", "destroy", b'{"labels":["nobody"],"reason":"x"}'), "key-unknown"),
        (OpenCeremony("genesis", "work-order", order_plan("x")), "ceremony-exists"),
        (commands.ShowCeremony("x"), "ceremony-unknown"),
        (ExecuteStep("x", "plan"), "ceremony-unknown"),
        (ExecuteStep("genesis", "minutes"), "ceremony-unknown"),
        (SuspendKey("nobody", "x"), "key-unknown"),
    ],
)
def test_what_cannot_be_is_refused(genesis_world: World, command: commands.AnyCommand, code: str) -> None:
    assert ask(genesis_world, command) == code
    last = read_leaves(genesis_world)[-1]
    assert last["type"] in ("auth.fail", "ceremony.denied", "key.state")
    if last["type"] == "ceremony.denied":
        what = last["op"]["what"]
        assert (what["ceremony"], what["why"].split(":")[0]) == (getattr(command, "id", ""), code)


@pytest.mark.req("AZ-3", "T6")
def test_only_officers_of_the_roster_propose_and_stop(genesis_world: World) -> None:
    for binding in ({"officer": "mallory"}, {"officer": ["alice", "bob"]}):
        token = genesis_world.token("officer", **binding)
        code = "officer-unknown" if binding["officer"] == "mallory" else "binding-mismatch"
        assert ask(genesis_world, ORDER, token=token) == code
        assert ask(genesis_world, SuspendKey("director", "x"), token=token) == code
    assert genesis_world.room.door.keyring.labelled("director").state == "active"


def test_a_decision_stands(genesis_world: World) -> None:
    shown = ask(genesis_world, ORDER)
    assert isinstance(shown, CeremonyShown)
    asyncio.run(genesis_world.approve("order", "plan", "bob"))
    template = parse_template(shown.steps[0].template)
    for decision in ("approve", "reject"):
        statement = statement_bytes(template, "bob", decision)
        signature = genesis_world.officers["bob"].sign(statement).encode()
        assert ask(genesis_world, DecideStep("order", "plan", statement, signature)) == "already-decided"
    shown = ask(genesis_world, commands.ShowCeremony("order"))
    assert isinstance(shown, CeremonyShown)
    assert shown.steps[0].decisions == (("bob", "approve"),)


def test_what_is_no_statement_is_no_approval_and_an_entry(genesis_world: World) -> None:
    shown = ask(genesis_world, ORDER)
    assert isinstance(shown, CeremonyShown)
    good = statement_bytes(parse_template(shown.steps[0].template), "bob", "approve")
    signature = genesis_world.officers["bob"].sign(good).encode()
    tries = [
        (b"", signature, "approval-malformed"),
        (b"{}", signature, "approval-malformed"),
        (good + b" ", signature, "approval-malformed"),
        (good, b"", "approval-malformed"),
        (good, b"\xff\xfe", "approval-malformed"),
        (good, signature[:-80], "approval-malformed"),
        (good, genesis_world.officers["carol"].sign(good).encode(), "approval-unsigned"),
        (good, genesis_world.officers["bob"].sign(good + b"x").encode(), "approval-unsigned"),
        (good, genesis_world.officers["bob"].sign(good, "file").encode(), "approval-unsigned"),
    ]
    for statement, given, code in tries:
        before = genesis_world.room.ledger.journal.size
        assert ask(genesis_world, DecideStep("order", "plan", statement, given)) == code, (statement, given)
        (entry,) = read_leaves(genesis_world, before)
        assert (entry["type"], entry["op"]["what"]["id"]) == ("auth.fail", "order")
    shown = ask(genesis_world, commands.ShowCeremony("order"))
    assert isinstance(shown, CeremonyShown)
    assert shown.steps[0].decisions == ()


def test_an_approval_is_recorded_with_its_digests(genesis_world: World) -> None:
    ask(genesis_world, ORDER)
    asyncio.run(genesis_world.approve("order", "plan", "bob"))
    entry = next(leaf for leaf in reversed(read_leaves(genesis_world)) if leaf["type"] == "approval")
    what = entry["op"]["what"]
    assert (what["officer"], what["decision"], entry["cer"]) == ("bob", "approve", "order")
    statement = genesis_world.room.store.blob(what["statement"])
    assert statement is not None
    assert json.loads(statement)["officer"] == "bob"
    assert genesis_world.room.store.blob(what["signature"])


@pytest.mark.req("MP-11")
@on_both_keys
def test_any_single_officer_stops_a_key_at_once(genesis_world: World) -> None:
    started = time.monotonic()
    answer = ask(genesis_world, SuspendKey("device-ca", "a token is missing"))
    assert time.monotonic() - started < 1
    assert isinstance(answer, KeysListed)
    assert {key.label: key.state for key in answer.keys}["device-ca"] == "suspended"
    assert ask(genesis_world, SuspendKey("device-ca", "again")) == "key-transition-refused"
    entry = next(leaf for leaf in reversed(read_leaves(genesis_world)) if leaf["type"] == "key.state")
    assert entry["op"]["what"] == {"labels": ["device-ca"], "to": "suspended"}


@on_both_keys
def test_a_work_order_is_opened_once(genesis_world: World) -> None:
    """Two ceremonies for one order: both may be proposed, one is carried out."""

    async def run() -> None:
        for name in ("first", "second"):
            await genesis_world.ask(OpenCeremony(name, "work-order", order_plan("wo-9")), "officer", CeremonyShown)
            await genesis_world.approve(name, "plan", "bob", "carol")
        await genesis_world.ask(ExecuteStep("first", "plan"), "officer", CeremonyShown)
        answer = await genesis_world.try_ask(ExecuteStep("second", "plan"), "officer")
        assert isinstance(answer, Problem)
        assert answer.code == "plan-malformed"

    asyncio.run(run())


@pytest.mark.req("AU-4")
def test_a_ceremony_that_does_not_go_on_says_why_in_the_journal(genesis_world: World) -> None:
    """Once for each refusal: of the plan, of the quorum, and of a step that has left other entries before."""

    def refused(command: commands.AnyCommand, code: str) -> dict[str, str]:
        before = genesis_world.room.ledger.journal.size
        assert ask(genesis_world, command) == code
        leaves = [leaf for leaf in read_leaves(genesis_world, before) if leaf["type"] != "key.generate.denied"]
        (entry,) = [leaf for leaf in leaves if leaf["type"] == "ceremony.denied"]
        assert entry["actor"]["role"] == "officer"
        assert not [leaf for leaf in leaves if leaf["type"] == "auth.fail"]
        what: dict[str, str] = entry["op"]["what"]
        assert (entry["cer"], what.pop("why").split(":")[0]) == (what["ceremony"], code)
        return what

    bad = OpenCeremony("bad", "work-order", b"{}")
    assert refused(bad, "plan-malformed") == {"action": "work-order", "ceremony": "bad"}
    asyncio.run(genesis_world.propose("rotate", "trust-set", ROTATION))
    step = {"action": "trust-set", "ceremony": "rotate", "step": "plan"}
    assert refused(ExecuteStep("rotate", "plan"), "quorum-not-met") == step
    asyncio.run(genesis_world.approve("rotate", "plan", "bob", "carol"))
    ask(genesis_world, ExecuteStep("rotate", "plan"))
    asyncio.run(genesis_world.approve("rotate", "results", "bob", "carol"))
    # The new key is started, which is an entry; then the drafts turn out to be void.
    write_sql(genesis_world, "UPDATE step SET recipe = x'7b7d' WHERE ceremony = 'rotate' AND step = 'results'")
    other = "CAST(replace(CAST(shown AS TEXT), 'kedge/plan', 'other/plan') AS BLOB)"
    write_sql(genesis_world, "UPDATE step SET recipe = :r WHERE step = 'results'", r=b'{"now":1,"previous":0}')
    write_sql(genesis_world, f"UPDATE step SET shown = {other} WHERE ceremony = 'rotate' AND step = 'plan'")
    assert refused(ExecuteStep("rotate", "results"), "not-listed") == {**step, "step": "results"}
    assert genesis_world.room.door.keyring.labelled("oem-root-4").state == "active"


@pytest.mark.req("AU-4")
def test_documents_are_those_of_the_ceremony_and_are_read_beside_the_loop(
    genesis_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A release, or a work order, that is named like the ceremony shows nothing there."""
    key, request = "ceremony/genesis:", "UPDATE request SET id = :new WHERE id = :old"
    for old, new in (("set-0-0", "release/genesis:set-0-0"), ("device-ca", "order/genesis:device-ca")):
        write_sql(genesis_world, request, old=key + old, new=new)
    threads, read = [], Store.rows

    def rows(store: Store, query: Any) -> Any:
        threads.append(threading.current_thread())
        assert "request.id >=" in str(query) or "FROM request" not in str(query)
        return read(store, query)

    monkeypatch.setattr(Store, "rows", rows)
    shown = ask(genesis_world, commands.ShowCeremony("genesis"))
    assert isinstance(shown, CeremonyShown)
    names = {name for _, name, _ in shown.documents}
    assert names == {"identity-root", "site-ca", "service-ca", "birth-package-bms-stm32h7"}
    assert threads
    assert threading.main_thread() not in threads


def test_a_release_named_like_a_ceremony_shows_nothing_there(genesis_world: World) -> None:
    async def run() -> tuple[tuple[str, str, str], ...]:
        command = OpenCeremony("rotation-1", "work-order", order_plan("rotation-1"))
        await genesis_world.ask(command, "officer", CeremonyShown)
        await sign_release(genesis_world, "2.3.0", 2, id="rotation-1")
        return (await genesis_world.ask(commands.ShowCeremony("rotation-1"), "officer", CeremonyShown)).documents

    assert asyncio.run(run()) == ()
