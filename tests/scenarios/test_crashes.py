"""The crash table of the keyroom, row by row: a real process kills itself at a named point, then the next starts."""

import asyncio
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ceremonies import commands
from ceremonies.commands import AnyCommand, CeremonyShown, DeviceIssued, ExecuteStep, IssueDevice, Request
from ceremonies.tables import EntryRow, RequestRow, ReservationRow
from tests import crashing
from tests.pki.x509.test_requests import read_request
from tests.world import World, audit_files, copy_world, export_journal, make_request

ROOT = Path(__file__).parents[2]
ROUNDS = int(os.environ.get("KEDGE_ROUNDS", "1"))
SIGKILLED = -9

RELEASED = ("after T2", "before checkpoint", "after checkpoint")
"""The outcome is durable, and the answer has not left: on the writer's thread, then on the finisher's."""

Leaf = dict[str, Any]


def start(world: World, point: str, role: str, *asked: AnyCommand) -> subprocess.Popen[str]:
    """A keyroom process on the world's files that gets these requests together and dies at `point`."""
    given, pipe = [sys.executable, "-m", "tests.crashing", *write_facts(world, point, role, *asked)], subprocess.PIPE
    return subprocess.Popen(given, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def write_facts(world: World, point: str, role: str, *asked: AnyCommand) -> list[str]:
    """The requests as a file, and the arguments of `tests.crashing`."""
    request = world.path / "request"
    requests = [Request(at, command, world.role_token(role), "192.0.2.7") for at, command in enumerate(asked, 1)]
    request.write_bytes(msgspec.msgpack.encode(requests))
    facts = [str(world.path), world.roster.digest, world.around.software, point, str(request)]
    return [*facts, world.settings().database]


def crash(world: World, point: str, role: str, *asked: AnyCommand) -> None:
    """Run such a process; it ends by its own kill, and has answered nothing.

    It is forked from one that has imported what it needs, which takes longer than the rest of its life.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.crashing"])
    hears, tells = context.Pipe(duplex=False)
    process = context.Process(target=crashing.run, args=(tells, *write_facts(world, point, role, *asked)))
    process.start()
    tells.close()
    process.join(60)
    assert (process.exitcode, hears.poll()) == (SIGKILLED, True)
    with pytest.raises(EOFError):
        hears.recv()


def read_leaves(world: World) -> list[Leaf]:
    """Every entry of a started world."""
    return [msgspec.json.decode(row["leaf"]) for row in world.room.store.list(EntryRow, "seq")]


def of_request(leaves: list[Leaf], request: str) -> list[Leaf]:
    """The entries of one request."""
    return [leaf for leaf in leaves if leaf.get("req") == request]


async def check_journal(world: World) -> list[Leaf]:
    """The offline verifier finds nothing: seq and kctr have no gaps, each intent is closed once, signatures verify."""
    files = await export_journal(world)
    report = audit_files(world, files)
    assert report.verdict == "authenticated"
    assert report.open == 0
    return read_leaves(world)


@pytest.mark.engines
@pytest.mark.req("AU-1", "T27")
@pytest.mark.parametrize("turn", range(ROUNDS))
@pytest.mark.parametrize("point", ["before T1", "inside T1", "after T1", "after sign", "inside T2", *RELEASED])
def test_a_crash_while_a_certificate_is_sealed(hsm_template: World, tmp_path: Path, point: str, turn: int) -> None:
    world = copy_world(hsm_template, tmp_path)
    csr = make_request()
    crash(world, point, "station", IssueDevice("wo-1", "BMS-000001", csr))
    world.start()
    try:
        asyncio.run(check_retry(world, csr, point))
    finally:
        world.stop()


async def check_retry(world: World, csr: bytes, point: str) -> None:
    """What the next start finds, and what the caller's retry gets."""
    spki = read_request(csr).spki
    name = f"order/wo-1:BMS-000001:{spki[:32]}"
    found = of_request(read_leaves(world), name)
    written = point not in ("before T1", "inside T1")
    released = point in RELEASED
    closing = "key.sign.outcome" if released else "key.sign.unknown"
    assert [leaf["type"] for leaf in found] == (["key.sign.intent", closing] if written else [])
    spent = world.room.store.find(ReservationRow, name="serial:BMS-000001")
    assert (spent is not None) == written
    if not written:
        assert world.room.store.find(RequestRow, id=name) is None
    else:
        other = await world.try_ask(IssueDevice("wo-1", "BMS-000001", make_request()), "station")
        assert isinstance(other, commands.Problem)
        assert other.code == "serial-taken"
    first = await world.ask(IssueDevice("wo-1", "BMS-000001", csr), "station", DeviceIssued)
    again = await world.ask(IssueDevice("wo-1", "BMS-000001", csr), "station", DeviceIssued)
    assert (first.replayed, again.replayed) == (released, True)
    assert first.certificate == again.certificate
    leaves = of_request(await check_journal(world), name)
    intents = [leaf for leaf in leaves if leaf["type"] == "key.sign.intent"]
    assert len(intents) == (2 if written and not released else 1)
    assert len({leaf["op"]["digest"] for leaf in intents}) == 1, "the retry sealed other bytes"
    counts = [leaf["keys"][0]["kctr"] for leaf in intents]
    assert counts == list(range(1, len(intents) + 1))
    assert world.room.ledger.replay.quotas["wo-1"].issued == 1


# What is on disk after a crash with three batches of one order each: how many intents, and how many outcomes.
PIPELINED = {
    "second T1": (2, 0),
    "before T2 and T1": (2, 0),
    "inside T2 and T1": (2, 0),
    "after T2 and T1": (3, 1),
    "last T2": (3, 2),  # and 3 when the last two outcomes came together
}


@pytest.mark.req("AU-1", "T27")
@pytest.mark.parametrize("turn", range(ROUNDS))
@pytest.mark.parametrize("point", PIPELINED)
def test_a_crash_while_one_batch_is_signed_and_the_next_one_is_written(
    hsm_template: World, tmp_path: Path, point: str, turn: int
) -> None:
    world = copy_world(hsm_template, tmp_path)
    asked = [IssueDevice("wo-1", f"BMS-{number:06}", make_request()) for number in (1, 2, 3)]
    crash(world, point, "station", *asked)
    world.start()
    try:
        asyncio.run(check_pipelined(world, asked, PIPELINED[point]))
    finally:
        world.stop()


async def check_pipelined(world: World, asked: list[IssueDevice], expected: tuple[int, int]) -> None:
    """Every intent without an outcome was closed as unknown; each retry gets one certificate, and one unit is used."""
    mine = [leaf for leaf in read_leaves(world) if leaf.get("req", "").startswith("order/wo-1:")]
    kinds = [leaf["type"].split(".")[-1] for leaf in mine]
    intents, outcomes = kinds.count("intent"), kinds.count("outcome")
    assert (intents, kinds.count("unknown")) == (expected[0], intents - outcomes)
    assert outcomes >= expected[1]
    first = await asyncio.gather(*(world.ask(command, "station", DeviceIssued) for command in asked))
    again = await asyncio.gather(*(world.ask(command, "station", DeviceIssued) for command in asked))
    assert sum(item.replayed for item in first) == outcomes
    assert [item.certificate for item in again] == [item.certificate for item in first]
    leaves = await check_journal(world)
    for leaf in mine:
        made = {item["op"]["digest"] for item in of_request(leaves, leaf["req"]) if item["type"] == "key.sign.intent"}
        assert len(made) == 1, "the retry sealed other bytes"
    assert world.room.ledger.replay.quotas["wo-1"].issued == 3


@pytest.mark.engines
@pytest.mark.req("AU-1", "T27")
@pytest.mark.parametrize("turn", range(ROUNDS))
@pytest.mark.parametrize("point", ["before generate", "key generated", "key registered"])
def test_a_crash_while_a_key_is_made(hsm_template: World, tmp_path: Path, point: str, turn: int) -> None:
    world = copy_world(hsm_template, tmp_path)
    crash(world, point, "officer", ExecuteStep("rotate", "plan"))
    world.start()
    try:
        asyncio.run(check_created(world, registered=point == "key registered"))
    finally:
        world.stop()


async def check_created(world: World, *, registered: bool) -> None:
    """The object of the open intent is gone from the token; the ceremony goes on and makes the key once."""
    mine = [leaf for leaf in read_leaves(world) if leaf.get("keys", [{}])[0].get("label") == "oem-root-4"]
    closing = "key.generate.outcome" if registered else "key.generate.unknown"
    assert [leaf["type"] for leaf in mine] == ["key.generate.intent", closing]
    planned = bytes.fromhex(mine[0]["keys"][0]["id"])
    there = await world.room.act(lambda: world.room.door.strongbox.exists("kedge-main", planned))
    assert there == registered
    await world.ask(ExecuteStep("rotate", "plan"), "officer", CeremonyShown)
    made = [key for key in world.room.door.keyring if key.label == "oem-root-4"]
    assert len(made) == 1
    assert (made[0].cka_id == planned.hex()) == registered
    await check_journal(world)


@pytest.mark.engines
@pytest.mark.req("AU-1", "T27", "KL-11")
@pytest.mark.parametrize("turn", range(ROUNDS))
@pytest.mark.parametrize("point", ["before destroy", "object gone"])
def test_a_crash_while_a_key_is_destroyed(hsm_template: World, tmp_path: Path, point: str, turn: int) -> None:
    world = copy_world(hsm_template, tmp_path)
    crash(world, point, "officer", ExecuteStep("drop", "plan"))
    world.start()
    try:
        asyncio.run(check_destroyed(world, gone=point == "object gone"))
    finally:
        world.stop()


async def check_destroyed(world: World, *, gone: bool) -> None:
    """Recovery sees whether the object is gone and says so; the ceremony goes on to the same end."""
    mine = [leaf for leaf in read_leaves(world) if leaf["type"].startswith("key.destroy")]
    assert [leaf["type"] for leaf in mine] == [
        "key.destroy.intent", "key.destroy.outcome" if gone else "key.destroy.unknown",
    ]  # fmt: skip
    assert world.room.door.keyring.labelled("site-ca").state == ("destroyed" if gone else "active")
    await world.ask(ExecuteStep("drop", "plan"), "officer", CeremonyShown)
    key = world.room.door.keyring.labelled("site-ca")
    there = await world.room.act(lambda: world.room.door.strongbox.exists(key.token, bytes.fromhex(key.cka_id)))
    assert (key.state, there) == ("destroyed", False)
    await check_journal(world)


@pytest.mark.req("HS-5")
def test_no_pin_is_told(hsm_template: World, tmp_path: Path) -> None:
    """Neither its environment, nor its command line, nor what it prints, nor what it writes knows a PIN."""
    world = copy_world(hsm_template, tmp_path)
    with start(world, "nowhere", "station", IssueDevice("wo-1", "BMS-000001", make_request())) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        living = [Path(f"/proc/{process.pid}/{name}").read_bytes() for name in ("environ", "cmdline")]
        told, errors = process.communicate(timeout=60)
    assert first == "answered\n", errors
    assert all(living)
    pins = [path.read_bytes().strip() for path in (world.path / "hsm").glob("*pin")]
    assert len(pins) == 6
    written = [path.read_bytes() for path in (world.path / "data").rglob("*") if path.is_file()]
    said = b"".join([*living, *written, told.encode(), errors.encode()])
    assert [pin for pin in pins if pin in said] == []
