"""Many certificates revoked by a quorum, over a selection that was frozen when the ceremony was opened."""

import asyncio
import json
from typing import Any

import pytest

from ceremonies.commands import (
    CeremonyShown,
    ExecuteStep,
    OpenCeremony,
    PreviewRevocation,
    Problem,
    RevocationPreviewed,
    ShowCeremony,
)
from ceremonies.revocation_tables import RevocationRow
from ceremonies.revoked import write_number
from tests.ceremonies.examples import read_leaves, write_sql
from tests.ceremonies.lines import check_books
from tests.ceremonies.owning import Owner
from tests.ceremonies.revoking import authority, issue, list_lists, read_list, revoke, turn
from tests.ceremonies.small import sha256
from tests.ceremonies.test_rework import number_of
from tests.world import RefusedError, World, audit_world

WHY = {"reason": "keyCompromise", "why": "incident 7"}


def preview(world: World, plan: dict[str, Any]) -> RevocationPreviewed:
    command = PreviewRevocation(json.dumps(WHY | plan).encode())
    return asyncio.run(world.ask(command, "officer", RevocationPreviewed))


def refusal(world: World, plan: dict[str, Any]) -> str:
    command = OpenCeremony("refused", "revoke", json.dumps(plan).encode())
    answer = asyncio.run(world.try_ask(command, "officer"))
    assert isinstance(answer, Problem)
    return answer.code


def revoked(world: World) -> set[str]:
    return {row["number"] for row in world.room.store.list(RevocationRow, "number")}


@pytest.mark.req("CA-9")
def test_a_dry_run_tells_what_an_order_would_lose(factory_world: World) -> None:
    world = factory_world
    certificates = issue(world, 1, 2, 3)
    revoke(world, "BMS-000002")
    size = world.room.ledger.journal.size
    listed = preview(world, {"work_order": "wo-1"})
    assert (listed.count, listed.revoked) == (3, 1)
    ca = world.room.door.keyring.labelled("device-ca").spki
    numbers = sorted(write_number(item.serial_number) for item in certificates)
    assert listed.sha256 == sha256("".join(f"{ca}:{number}\n" for number in numbers).encode())
    assert [line.split()[0] for line in listed.first] == numbers
    assert [leaf["type"] for leaf in read_leaves(world, size)] == ["export"]
    assert len(revoked(world)) == 1


@pytest.mark.engines
@pytest.mark.req("CA-9", "MP-1")
def test_a_quorum_revokes_an_order_and_not_what_came_later(factory_world: World) -> None:
    world = factory_world
    first = issue(world, 1, 2)
    plan = WHY | {"work_order": "wo-1"}
    asyncio.run(world.propose("incident-7", "revoke", plan))
    shown = asyncio.run(world.ask(ShowCeremony("incident-7"), "local", CeremonyShown))
    seen = json.loads(shown.steps[0].shown)["selected"]
    assert (seen["count"], seen["sha256"]) == (2, preview(world, {"work_order": "wo-1"}).sha256)
    (later,) = issue(world, 3)
    refused = asyncio.run(world.try_ask(ExecuteStep("incident-7", "plan"), "officer"))
    assert isinstance(refused, Problem)
    assert refused.code == "quorum-not-met"
    assert revoked(world) == set()
    asyncio.run(world.carry_out("incident-7", "bob", "carol"))
    assert revoked(world) == {write_number(item.serial_number) for item in first}
    (leaf,) = [leaf for leaf in read_leaves(world) if leaf["type"] == "certificate.revoke"]
    assert (leaf["cer"], [item["officer"] for item in leaf["apr"]]) == ("incident-7", ["bob", "carol"])
    turn(world)
    assert list_lists(world)["crl/device-ca.crl"].entries == 2
    assert later.serial_number not in [entry.serial_number for entry in read_list(world, "crl/device-ca.crl")]
    assert asyncio.run(audit_world(world)).verdict == "authenticated"


@pytest.mark.req("CA-9")
def test_by_key_and_by_the_list_of_an_incident(factory_world: World) -> None:
    world = factory_world
    certificates = issue(world, 1, 2, 3)
    number = f"{certificates[2].serial_number:x}"
    asyncio.run(world.ceremony("list", "revoke", WHY | {"serials": ["BMS-000001", "BMS-000001"], "numbers": [number]}))
    assert len(revoked(world)) == 2
    assert preview(world, {"key": "device-ca"}).count == 3
    asyncio.run(world.ceremony("all", "revoke", WHY | {"key": "device-ca"}))
    assert revoked(world) == {write_number(item.serial_number) for item in certificates}
    asyncio.run(world.ceremony("cas", "revoke", {"reason": "cACompromise", "why": "x", "key": "identity-root"}))
    turn(world)
    root = read_list(world, "crl/identity-root.crl")
    assert {entry.serial_number for entry in root} == {
        authority(world, name).serial_number for name in ("device-ca", "service-ca", "site-ca")
    }


@pytest.mark.parametrize(
    "plan",
    [
        {},
        {"work_order": "wo-1", "key": "device-ca"},
        {"work_order": "wo-1", "serials": ["BMS-000001"]},
        {"work_order": "wo-1", "reason": "removeFromCRL"},
        {"work_order": "wo-1", "why": ""},
        {"work_order": "wo-2"},
        {"key": "director"},
        {"numbers": ["xyz"]},
    ],
)
def test_plans_that_are_none(refusing_factory: World, plan: dict[str, Any]) -> None:
    assert refusal(refusing_factory, WHY | plan) == "plan-malformed"


@pytest.mark.parametrize(("plan", "code"), [({"serials": ["BMS-000009"]}, "certificate-unknown"),
                                            ({"key": "nobody"}, "key-unknown")])  # fmt: skip
def test_plans_that_name_nothing(factory_world: World, plan: dict[str, Any], code: str) -> None:
    assert refusal(factory_world, WHY | plan) == code


@pytest.mark.req("T5")
def test_a_selection_that_changed_is_refused(factory_world: World) -> None:
    world = factory_world
    issue(world, 1, 2)
    asyncio.run(world.propose("incident-7", "revoke", WHY | {"work_order": "wo-1"}))
    write_sql(world, "UPDATE request SET outcome = NULL WHERE id LIKE 'order/wo-1:BMS-000002%'")
    asyncio.run(world.approve("incident-7", "plan", "bob", "carol"))
    answer = asyncio.run(world.try_ask(ExecuteStep("incident-7", "plan"), "officer"))
    assert isinstance(answer, Problem)
    assert answer.code == "step-outdated"
    assert revoked(world) == set()


@pytest.mark.req("MP-1")
def test_a_policy_that_does_not_name_it_leaves_it_to_every_officer(factory_world: World) -> None:
    governing = factory_world.room.door.require_governing()
    quorums = {kind: rule for kind, rule in governing.policy.quorums.items() if kind != "certificate.revoke"}
    silent = type(governing.policy)(quorums, governing.policy.fleet)
    rule = silent.rule_for("certificate.revoke", governing.roster)
    assert (rule.m, rule.n) == (3, 3)


@pytest.mark.req("CA-9", "KL-1")
def test_a_ca_whose_certificate_was_revoked_issues_nothing(factory_world: World) -> None:
    world = factory_world
    issue(world, 1)
    numbers = [f"{authority(world, 'device-ca').serial_number:x}"]
    asyncio.run(world.ceremony("incident-8", "revoke", {"reason": "cACompromise", "why": "8", "numbers": numbers}))
    with pytest.raises(RefusedError, match="authority-unavailable"):
        issue(world, 2)


@pytest.mark.parametrize("selected", [{"serials": ["BMS-000001"]}, {"work_order": "wo-1"}, {"key": "device-ca"}])
def test_what_rests_on_devices_ends_with_them(owner: Owner, selected: dict[str, Any]) -> None:
    async def play() -> str:
        issued = await owner.enrol()
        await owner.world.ceremony("incident", "revoke", WHY | selected)
        return number_of(issued)

    number = asyncio.run(play())
    numbers = {row["number"] for row in owner.world.room.store.list(RevocationRow, "number")}
    assert numbers - {number} == {number_of(owner.unit.held)}
    assert (number in numbers) == ("key" not in selected)
    check_books(owner.world)
