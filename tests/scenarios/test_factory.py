"""Replays, quotas under load, windows and suspensions; the duplicate table is in test_duplicates."""

import asyncio
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ceremonies import commands
from ceremonies.commands import CeremonyShown, DeviceIssued, IssueDevice, Problem, SuspendKey
from ceremonies.tables import DeviceRow, EntryRow
from tests.ceremonies.examples import order_plan
from tests.ceremonies.templates import Keys, Templates, on_both_keys
from tests.engines import Engine
from tests.world import CLASS, PLANT, World, audit_world, copy_world, issue_device, make_request

pytestmark = pytest.mark.engines
DAY_US = 86_400_000_000


def answer_to(world: World, number: int | str, csr: bytes, order: str = "wo-1", token: str = "") -> DeviceIssued | str:
    """The certificate, or the code of the refusal."""
    serial = f"BMS-{number:06}" if isinstance(number, int) else number
    answer = asyncio.run(world.try_ask(IssueDevice(order, serial, csr), "station", token))
    if isinstance(answer, Problem):
        return answer.code
    assert isinstance(answer, DeviceIssued)
    return answer


def issued_count(world: World) -> int:
    """Units used, as the journal has it."""
    return world.room.ledger.replay.quotas["wo-1"].issued


def use_up(world: World, units: int) -> list[bytes]:
    """Issue the first units of the order. Their requests."""
    requests = [make_request() for _ in range(units)]

    async def run() -> None:
        await asyncio.gather(*(issue_device(world, n, csr) for n, csr in enumerate(requests, 1)))

    asyncio.run(run())
    return requests


@pytest.mark.req("CA-14", "T2")
@on_both_keys
def test_the_same_serial_with_the_same_key_gets_the_same_bytes(factory_world: World) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    first = answer_to(factory_world, 1, make_request(key))
    assert isinstance(first, DeviceIssued)
    assert not first.replayed
    for _ in range(20):
        again = answer_to(factory_world, 1, make_request(key))  # another request by the same key
        assert isinstance(again, DeviceIssued)
        assert again.replayed
        assert (again.certificate, again.chain, again.proven.entry) == (
            first.certificate, first.chain, first.proven.entry,
        )  # fmt: skip
    assert issued_count(factory_world) == 1
    assert len(factory_world.room.store.list(DeviceRow, "serial")) == 1


@pytest.mark.req("CA-14")
@on_both_keys
def test_the_same_request_many_times_at_once_is_one(factory_world: World) -> None:
    csr = make_request()

    async def run() -> list[DeviceIssued]:
        return await asyncio.gather(*(issue_device(factory_world, 1, csr) for _ in range(40)))

    answers = asyncio.run(run())
    assert len({item.certificate for item in answers}) == 1
    assert [item.replayed for item in answers].count(False) == 1
    assert issued_count(factory_world) == 1


def broken(csr: bytes) -> bytes:
    """The same request with another signature."""
    der = bytearray(x509.load_pem_x509_csr(csr).public_bytes(serialization.Encoding.DER))
    der[-1] ^= 1
    return bytes(der)


@pytest.mark.req("CA-13", "T4")
@on_both_keys
def test_fifty_at_once_for_the_last_ten(factory_world: World) -> None:
    use_up(factory_world, 10)

    async def run() -> list[Any]:
        asked = [IssueDevice("wo-1", f"BMS-{11 + n % 15:06}", make_request()) for n in range(50)]
        return await asyncio.gather(*(factory_world.try_ask(command, "station") for command in asked))

    answers = asyncio.run(run())
    issued = [answer for answer in answers if isinstance(answer, DeviceIssued)]
    assert len(issued) == 10
    assert {a.code for a in answers if isinstance(a, Problem)} <= {"quota-exhausted", "serial-taken"}
    assert issued_count(factory_world) == 20
    assert len(factory_world.room.store.list(DeviceRow, "serial")) == 20
    assert len({answer.certificate for answer in issued}) == 10
    assert answer_to(factory_world, 25, make_request()) in ("quota-exhausted", "serial-taken")
    report = asyncio.run(audit_world(factory_world))
    assert (report.verdict, report.open) == ("authenticated", 0)


@pytest.mark.req("AZ-4")
@pytest.mark.parametrize(
    "claims",
    [
        {"plant": "linz", "class": CLASS},
        {"plant": PLANT, "class": "bms-other"},
        {"plant": ["linz", "wien"], "class": CLASS},
    ],
)
def test_a_station_of_another_plant_or_class(factory_world: World, claims: dict[str, Any]) -> None:
    token = factory_world.token("station", **claims)
    assert answer_to(factory_world, 1, make_request(), token=token) == "binding-mismatch"
    assert issued_count(factory_world) == 0


def test_a_station_without_a_plant_is_none(factory_world: World) -> None:
    token = factory_world.token("station", **{"class": CLASS})
    assert answer_to(factory_world, 1, make_request(), token=token) == "token-grant-missing"


@on_both_keys
def test_an_order_has_its_time(templates: Templates, engine: Engine, keys: Keys, tmp_path: Path) -> None:
    """After its window an order issues nothing new, and still answers who asks again."""
    world = copy_world(templates.factory(engine, keys), tmp_path / "world").start()
    (csr,) = use_up(world, 1)
    world.stop()
    real = world.around.now_us
    later = msgspec.structs.replace(world.around, now_us=lambda: real() + 2 * DAY_US)
    world.around = later
    world.start()
    now = int(time.time()) + 2 * 86_400
    times = {"iat": now, "nbf": now, "exp": now + 300}
    token = world.token("station", plant=PLANT, **{"class": CLASS}, **times)
    assert answer_to(world, 2, make_request(), token=token) == "work-order-closed"
    again = answer_to(world, 1, csr, token=token)
    assert isinstance(again, DeviceIssued)
    assert again.replayed
    world.stop()


def test_an_order_of_the_future_is_closed(genesis_world: World) -> None:
    plan = order_plan("wo-1", valid_from=3_999_999_999)

    async def run() -> None:
        await genesis_world.ask(commands.OpenCeremony("o", "work-order", plan), "officer", CeremonyShown)
        await genesis_world.carry_out("o", "bob", "carol")

    asyncio.run(run())
    assert answer_to(genesis_world, 1, make_request()) == "work-order-closed"


def test_an_order_that_is_not_approved_is_unknown(genesis_world: World) -> None:
    command = commands.OpenCeremony("o", "work-order", order_plan("wo-1"))
    asyncio.run(genesis_world.ask(command, "officer", CeremonyShown))
    asyncio.run(genesis_world.approve("o", "plan", "bob"))
    assert answer_to(genesis_world, 1, make_request()) == "work-order-unknown"


@pytest.mark.req("MP-11")
@on_both_keys
def test_a_stopped_ca_issues_nothing_until_a_quorum_resumes_it(factory_world: World) -> None:
    use_up(factory_world, 1)
    asyncio.run(factory_world.ask(SuspendKey("device-ca", "a drill"), "officer", commands.KeysListed))
    assert answer_to(factory_world, 2, make_request()) == "key-not-active"
    plan = {"labels": ["device-ca"], "reason": "the drill is over"}
    asyncio.run(factory_world.ceremony("resume", "resume", plan))
    assert isinstance(answer_to(factory_world, 2, make_request()), DeviceIssued)
    assert issued_count(factory_world) == 2


@pytest.mark.req("T2")
@on_both_keys
def test_a_replay_is_seen_in_the_journal(factory_world: World) -> None:
    csr = make_request()
    for _ in range(3):
        assert isinstance(answer_to(factory_world, 1, csr), DeviceIssued)
    rows = factory_world.room.store.list(EntryRow, "seq")[-2:]
    assert [row["type"] for row in rows] == ["export", "export"]
    assert all(b'"serial":"BMS-000001"' in row["leaf"] for row in rows)
