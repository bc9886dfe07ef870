"""`make bench`: how fast the door is, as ratios to the bare signature rate of the same run.

Writes bench-out/results.json as {name: {value, unit, ratio_to_raw, p50_ms, p99_ms}}; `flood_suspend_ms` is no rate:
the slowest of its times. Nothing here passes or fails.
"""

import asyncio
import base64
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import uvloop
from cryptography.hazmat.primitives.asymmetric import ec
from rich.console import Console
from rich.table import Table

from api.cli.demo.issuer import Issuer, ServedIssuer
from api.cli.demo.origins import hold_genesis
from api.cli.demo.people import Officers
from api.cli.demo.plans import CLASS, PLANT, TOKENS
from api.cli.demo.stage import Stage
from ceremonies.commands import IssueDevice
from ceremonies.desk import Caller
from ceremonies.issuance import Issuance
from ceremonies.orders import Actor
from ceremonies.process import tune_collector
from tests.bench_raw import RawSigner, raw_signer
from tests.postgres import Database
from tests.softhsm import fresh_strongbox, open_remote
from tests.world import TOKENS as TOKEN_ROLES
from tests.world import World, make_request

OUT = Path("bench-out")
ROUNDS = 4
SECONDS = float(os.environ.get("KEDGE_BENCH_SECONDS", "10"))
STATION = Caller(Actor(cred="bench", role="station", src="bench", sub="bench"))
QUANTITY = 4_000_000
CALLERS = 32
BATCHERS = 4
DEADLINE_S = 300.0
"""For a call of the token: a busy machine stands still for ten seconds at times, and would end a long run."""
Line = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Results = dict[str, dict[str, Any]]


def note(results: Results, name: str, measured: tuple[int, float, Sequence[float]], raw: float = 0) -> None:
    """One figure: rate, percentiles, and its ratio to the bare signature where that rate is given.

    measured = (operations, seconds, their times).
    """
    count, seconds, times = measured
    rate = count / seconds
    ordered = sorted(times)
    results[name] = {
        "value": round(rate, 1),
        "unit": "operations/s",
        **({"ratio_to_raw": round(rate / raw, 4)} if raw else {}),
        "p50_ms": round(ordered[len(ordered) // 2] * 1000, 3),
        "p99_ms": round(ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)] * 1000, 3),
    }
    print(f"{name}: {rate:,.0f}/s{f', {100 * rate / raw:.1f} % of raw' if raw else ''}", flush=True)


async def measure(
    callers: int, work: Callable[[int], Awaitable[object]], length: float = SECONDS
) -> tuple[int, float, list[float]]:
    """Have `callers` do work side by side for `length` seconds; work gets the number of the operation."""
    times: list[float] = []
    started = time.perf_counter()
    number = iter(range(10**9))

    async def call() -> None:
        while (now := time.perf_counter()) < started + length:
            await work(next(number))
            times.append(time.perf_counter() - now)

    await asyncio.gather(*(call() for _ in range(callers)))
    return len(times), time.perf_counter() - started, times


def open_world(path: Path, database: Database | None = None) -> World:
    """A keyroom as it runs in production, but for the socket: fresh SoftHSM tokens in a warden, a reader."""
    with fresh_strongbox(path / "hsm", tuple(TOKEN_ROLES)):
        pass
    world = World(path, lambda: open_remote(path / "hsm", tuple(TOKEN_ROLES), DEADLINE_S), database=database)
    world.readers = 1
    return world.start()


async def measure_door(
    world: World, raw: RawSigner, results: Results, names: Mapping[int, str], *, first: int = 1, prepare: bool = True
) -> None:
    """Device certificates with every rule, both commits and the checkpoint, without HTTP and token.

    In rounds, each with a round of bare signatures before it: the machine is not the same from one second to the next.
    """
    if prepare:
        await world.genesis()
        await world.open_order(quantity=QUANTITY, last=QUANTITY - 1, digits=7)
    issuance, numbers, rates = Issuance(world.room), iter(range(first, QUANTITY)), []
    for callers, name in names.items():
        keys = fresh_keys(int((150 if callers == 1 else 1600) * SECONDS) + 100)
        requests = [make_request(key) for key in keys]

        async def issue(number: int, prepared: list[bytes] = requests) -> None:
            csr = prepared.pop() if prepared else make_request()
            await issuance.issue(IssueDevice("wo-1", f"BMS-{next(numbers):07}", csr), STATION)

        await measure(callers, issue, 0.3)
        count, seconds = 0, 0.0
        times: list[float] = []
        for _ in range(ROUNDS):
            rates.append(raw.sign(SECONDS / ROUNDS / 2))
            part = await measure(callers, issue, SECONDS / ROUNDS)
            count, seconds, times = count + part[0], seconds + part[1], times + part[2]
        raw_rate = sum(rates[-ROUNDS:]) / ROUNDS
        note(results, name, (count, seconds, times), raw_rate)


def fresh_keys(count: int) -> list[ec.EllipticCurvePrivateKey]:
    """Distinct P-256 keys; derived, because generating them would take longer than the measurement."""
    base = int.from_bytes(os.urandom(24), "big")
    return [ec.derive_private_key(base + number, ec.SECP256R1()) for number in range(count)]


def measure_http(raw: RawSigner, results: Results) -> None:
    """Through API and keyroom as processes, load generator on the same cores: one certificate a request, 32 callers;
    100 a request, 4 callers.
    """
    with tempfile.TemporaryDirectory(prefix="kedge-bench-") as work:
        stage = Stage(Path(work) / "out", Path(work), Console(quiet=True))
        try:
            staff, served = Issuer("https://staff.kedge.example"), ServedIssuer(stage.work)
            officers = Officers(stage, staff)
            stage.make_settings(officers.roster.digest, TOKENS)
            lift_rate(stage)
            stage.start()
            hold_genesis(stage, officers, staff, served)
            now = int(time.time())
            plan = {
                "id": "bench", "profile": "idevid", "class_name": CLASS, "plant": PLANT, "prefix": "B-", "digits": 7,
                "first": 0, "last": QUANTITY - 1, "quantity": QUANTITY, "valid_from": now - 60,
                "valid_to": now + 86_400, "organization": "Bench",
            }  # fmt: skip
            officers.hold("bench-order", "work-order", plan)
            for name, load in (("http_single", load_singles), ("http_batch_100", load_batches)):
                before = raw.sign(SECONDS / 4)
                measured = asyncio.run(load(stage, staff))
                note(results, name, measured, (before + raw.sign(SECONDS / 4)) / 2)
        finally:
            stage.stop()


def lift_rate(stage: Stage) -> None:
    """Let one station ask for as much as the keyroom can do."""
    stage.settings.write_text(f"station_rate = 100000\n{stage.settings.read_text()}")


async def load_singles(stage: Stage, staff: Issuer) -> tuple[int, float, list[float]]:
    """The load: one token, as a station has one for minutes; a kept connection for each caller."""
    requests = [make_request(key) for key in fresh_keys(int(800 * SECONDS))]
    head = make_head(stage, staff, "application/x-pem-file")

    async def issue(line: Line, number: int) -> None:
        path = b"PUT /v1/work-orders/bench/devices/B-%07d" % number
        status, body = await send(line, path, head, requests[number])
        assert status == 200, body

    return await load(stage, CALLERS, issue)


async def load_batches(stage: Stage, staff: Issuer) -> tuple[int, float, list[float]]:
    """The load in batches of 100. Operations are certificates; the times are those of whole batches."""
    bodies = [
        json.dumps(
            {
                "requests": [
                    {"serial": f"B-{QUANTITY // 2 + 100 * batch + at:07}", "csr": base64.b64encode(csr).decode()}
                    for at, csr in enumerate(make_request(key) for key in fresh_keys(100))
                ]
            }
        ).encode()
        for batch in range(int(18 * SECONDS))
    ]
    head = make_head(stage, staff, "application/json")

    async def issue(line: Line, number: int) -> None:
        status, body = await send(line, b"POST /v1/work-orders/bench/devices", head, bodies[number])
        assert status == 200, body
        assert body.count(b'"replayed":false') == 100, body[:2000]

    count, seconds, times = await load(stage, BATCHERS, issue)
    return 100 * count, seconds, times


def make_head(stage: Stage, staff: Issuer, media_type: str) -> bytes:
    """The head's lines, but for the first and the length."""
    token = staff.issue("station:bench", role="station", plant=PLANT, **{"class": CLASS})
    address = urlsplit(str(stage.url))
    return (f"Host: {address.netloc}\r\nAuthorization: Bearer {token}\r\nContent-Type: {media_type}\r\n").encode()


async def load(
    stage: Stage, callers: int, issue: Callable[[Line, int], Awaitable[None]]
) -> tuple[int, float, list[float]]:
    """Measure requests on so many kept connections."""
    address = urlsplit(str(stage.url))
    lines = [await asyncio.open_connection(address.hostname, address.port) for _ in range(callers)]

    async def work(number: int) -> None:
        line = lines.pop()
        await issue(line, number)
        lines.append(line)

    measured = await measure(callers, work)
    for _, writer in lines:
        writer.close()
    return measured


async def send(line: Line, target: bytes, head: bytes, body: bytes) -> tuple[int, bytes]:
    """One request on a kept connection. A client library takes longer for it than the API and the keyroom together."""
    reader, writer = line
    writer.write(b"%b HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n%b" % (target, head, len(body), body))
    answer = await reader.readuntil(b"\r\n\r\n")
    (length,) = [int(item[15:]) for item in answer.split(b"\r\n") if item.lower().startswith(b"content-length:")]
    return int(answer[9:12]), await reader.readexactly(length)


def main() -> None:
    """Run everything, print a table, write the file."""
    from tests.bench_factory import measure_factory
    from tests.bench_flood import measure_flood  # which imports this module, as the next does
    from tests.bench_postgresql import measure_postgresql
    from tests.bench_revocation import measure_million

    results: Results = {}
    with tempfile.TemporaryDirectory(prefix="kedge-bench-") as work, raw_signer(Path(work) / "raw") as raw:
        world = open_world(Path(work))
        tune_collector()

        async def measure_both() -> None:  # on one loop: the readers belong to it
            await measure_door(world, raw, results, {1: "door_1", 8: "door_8", 64: "door_64"})
            await measure_flood(world, results)

        uvloop.run(measure_both())
        world.stop()
        measure_postgresql(raw, results)
        measure_http(raw, results)
        measure_million(results)
        times = raw.times
    measure_factory(results)
    note(results, "raw_sign_p256", (len(times), sum(times), times), len(times) / sum(times))
    OUT.mkdir(exist_ok=True)
    (OUT / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    machine = (
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    )
    table = Table("figure", "per second", "of raw", "p50 ms", "p99 ms", title=machine)
    for name, item in results.items():
        if "seconds_each" in item or item["unit"] == "kB":
            table.add_row(name, f"{item['value']:,} {item['unit']}", "", "", "")
        elif "ratio_to_raw" in item:
            share = f"{100 * item['ratio_to_raw']:.1f} %"
            table.add_row(name, f"{item['value']:,.0f}", share, str(item["p50_ms"]), str(item["p99_ms"]))
        elif "max_ms" in item:
            table.add_row(name, "", "", str(item["p50_ms"]), f"at most {item['max_ms']}")
        else:
            table.add_row(name, f"{item['value']:,.0f}", "", str(item["p50_ms"]), str(item["p99_ms"]))
    Console(file=sys.stdout).print(table)


if __name__ == "__main__":
    main()
