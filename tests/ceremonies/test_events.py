import asyncio

import msgspec
import pytest

from ceremonies.alarms import ALARMS
from ceremonies.commands import IssueDevice, SuspendKey
from ceremonies.events import SAID_LIMIT, Events, describe_alarm, describe_entry, judge_entry, passes
from ceremonies.results import AssetShown, EventShown
from tests.world import World, issue_device, make_request

LEAF = {"type": "key.state", "ts": "2026-11-22T19:44:09.338312Z", "log": "l", "node": {"id": "n"}, "id": "i"}


def read_all(world: World, start: int = 0) -> tuple[EventShown, ...]:
    return Events(world.room.store).read(start, 500, world.room.ledger.journal.size).events


def test_a_device_is_told_with_serial_class_plant_and_order(factory_world: World) -> None:
    before = factory_world.room.ledger.journal.size
    asyncio.run(issue_device(factory_world, 1, make_request()))
    intent, outcome = read_all(factory_world, before)[-2:]
    assert (intent.type, outcome.type) == ("key.sign.intent", "key.sign.outcome")
    assert (outcome.index, outcome.status, outcome.severity) == (before + 1, "ok", "info")
    assert outcome.asset == AssetShown("BMS-000001", "bms-stm32h7", "graz", "wo-1")
    assert outcome.keys == ("device-ca",)
    assert outcome.kind == "certificate.idevid"
    assert outcome.role == "station"


def test_every_entry_becomes_an_event_and_holds_no_signature(factory_world: World) -> None:
    asyncio.run(issue_device(factory_world, 1, make_request()))
    events = read_all(factory_world)
    assert [event.index for event in events] == [*range(factory_world.room.ledger.journal.size)]
    lines = [msgspec.json.encode(event) for event in events]
    assert max(map(len, lines)) < 2048
    assert all(b'"sigs"' not in line and b'"v":1' in line for line in lines)


def test_a_suspended_key_is_an_alarm(factory_world: World) -> None:
    asyncio.run(factory_world.ask(SuspendKey("device-ca", "laptop stolen"), "officer", object))
    event = next(event for event in read_all(factory_world) if event.alarm)
    assert (event.severity, event.alarm, event.state) == ("critical", "key-suspended", "raised")
    assert (event.keys, event.said) == (("device-ca",), "laptop stolen")


@pytest.mark.parametrize(
    ("kind", "what", "status", "expected"),
    [
        ("key.sign.outcome", {}, "ok", ("info", "")),
        ("key.sign.outcome", {}, "fail", ("warning", "")),
        ("key.sign.denied", {}, "denied", ("warning", "")),
        ("key.sign.unknown", {}, "unknown", ("critical", "unknown-outcome")),
        ("key.generate.outcome", {}, "ok", ("notice", "")),
        ("key.state", {"to": "active"}, "", ("notice", "")),
        ("key.state", {"to": "suspended"}, "denied", ("warning", "")),
        ("key.state", {"to": "compromised"}, "", ("critical", "key-compromised")),
        ("hsm.inventory", {"tokens": []}, "", ("info", "")),
        ("hsm.inventory", {"differences": ["x"]}, "", ("critical", "inventory")),
        ("auth.fail", {}, "", ("warning", "")),
        ("suppressed", {"count": 3}, "", ("warning", "")),
        ("log.recover", {}, "", ("critical", "log-recovered")),
        ("ceremony.close", {}, "", ("notice", "")),
        ("device.confirm", {}, "", ("info", "")),
        ("device.confirm", {}, "denied", ("warning", "")),
        ("device.scrap", {}, "", ("notice", "")),
        ("quota.close", {}, "", ("notice", "")),
        ("grant.make", {}, "", ("notice", "")),
        ("grant.settle", {"alarm": False}, "", ("notice", "")),
        ("grant.settle", {"alarm": True}, "", ("critical", "site-box")),
        ("grant.settle", {}, "denied", ("warning", "")),
        ("grant.stray", {}, "", ("critical", "site-box")),
    ],
)
def test_severities(kind: str, what: dict[str, object], status: str, expected: tuple[str, str]) -> None:
    assert judge_entry(kind, what, status) == expected
    assert not expected[1] or expected[1] in ALARMS


@pytest.mark.req("T3")
def test_a_key_for_a_second_serial_is_an_alarm(factory_world: World) -> None:
    csr = make_request()
    asyncio.run(issue_device(factory_world, 1, csr))
    asyncio.run(factory_world.try_ask(IssueDevice("wo-1", "BMS-000002", csr), "station"))
    (event,) = [event for event in read_all(factory_world) if event.alarm]
    assert (event.severity, event.alarm, event.state) == ("critical", "key-cloned", "raised")
    assert (event.asset.serial, event.asset.plant) == ("BMS-000002", "graz")
    assert event.alarm in ALARMS


def test_the_change_id_is_told_and_long_words_are_cut() -> None:
    event = describe_entry(7, {**LEAF, "chg": "CHG-9", "out": {"status": "fail", "why": "x" * 2000}})
    assert event.change == "CHG-9"
    assert len(event.said) == SAID_LIMIT


def test_alarms_of_the_moment() -> None:
    raised = describe_alarm("token kedge-main", "gone", raised=True, size=7, now_us=1_000_000)
    assert (raised.type, raised.alarm, raised.kind, raised.state) == ("alarm", "token", "kedge-main", "raised")
    assert (raised.index, raised.time, raised.severity) == (7, "1970-01-01T00:00:01.000000Z", "critical")
    cleared = describe_alarm("token kedge-main", "", raised=False, size=8, now_us=0)
    assert (cleared.state, cleared.severity) == ("cleared", "notice")


def test_the_least_severity() -> None:
    event = describe_alarm("writer", "", raised=False, size=1, now_us=0)
    assert [passes(event, least) for least in ("info", "notice", "warning", "critical")] == [True, True, False, False]
