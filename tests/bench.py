"""`make bench`: how fast the door is, as ratios to the bare signature rate of the same run.

Writes bench-out/results.json as {name: {value, unit, ratio_to_raw, p50_ms, p99_ms}}. Nothing here passes or fails.
"""

import asyncio
import ctypes
import hashlib
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
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
from hsm.strongbox import KeyName, Strongbox
from hsm.vault import AnyStrongbox
from tests.world import World, hsm_world, make_request

OUT = Path("bench-out")
SECONDS = float(os.environ.get("KEDGE_BENCH_SECONDS", "5"))
STATION = Caller(Actor(cred="bench", role="station", src="bench", sub="bench"))
QUANTITY = 1_000_000
Results = dict[str, dict[str, Any]]


def note(results: Results, name: str, count: int, seconds: float, times: Sequence[float]) -> None:
    """One figure: rate, ratio to the bare signature, and the percentiles of single operations."""
    rate = count / seconds
    raw = results.get("raw_sign_p256", {"value": rate})["value"]
    ordered = sorted(times) or [seconds / count]
    results[name] = {
        "value": round(rate, 1),
        "unit": "operations/s",
        "ratio_to_raw": round(rate / raw, 4),
        "p50_ms": round(ordered[len(ordered) // 2] * 1000, 3),
        "p99_ms": round(ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)] * 1000, 3),
    }
    print(f"{name}: {rate:,.0f}/s, {100 * rate / raw:.1f} % of raw", flush=True)


def measure_raw(box: AnyStrongbox, results: Results) -> None:
    """C_SignInit and C_Sign in a loop, through ctypes, with the handle kept: the floor under everything else."""
    assert isinstance(box, Strongbox)
    made = box.generate("kedge-main", os.urandom(16), "bench", "p256")
    name = KeyName(token="kedge-main", id=made.name.id, spki=made.name.spki, label="bench")
    box.sign(name, b"warm")
    signer = box._find_seat()._signers["kedge-main", made.name.id]
    digest, buffer, length = hashlib.sha256(b"bench").digest(), (ctypes.c_char * 128)(), ctypes.c_ulong()
    mechanism, times = ctypes.addressof(signer._mechanism), []
    started = time.perf_counter()
    while (now := time.perf_counter()) < started + SECONDS:
        length.value = 128
        rv = signer._init(signer._session, mechanism, signer._key)
        rv |= signer._sign(signer._session, digest, 32, ctypes.addressof(buffer), ctypes.addressof(length))
        assert rv == 0
        times.append(time.perf_counter() - now)
    note(results, "raw_sign_p256", len(times), time.perf_counter() - started, times)
    box.destroy("kedge-main", made.name.id)


async def measure(callers: int, work: Callable[[int], Awaitable[object]]) -> tuple[int, float, list[float]]:
    """Have `callers` do work side by side for SECONDS; work gets the number of the operation."""
    times: list[float] = []
    started = time.perf_counter()
    number = iter(range(10**9))

    async def call() -> None:
        while (now := time.perf_counter()) < started + SECONDS:
            await work(next(number))
            times.append(time.perf_counter() - now)

    await asyncio.gather(*(call() for _ in range(callers)))
    return len(times), time.perf_counter() - started, times


async def measure_door(world: World, results: Results) -> None:
    """Device certificates with every rule, both commits and the checkpoint, without HTTP and token."""
    await world.genesis()
    await world.open_order(quantity=QUANTITY, last=QUANTITY - 1)
    issuance, first = Issuance(world.room), 1
    for callers in (1, 8, 64):
        requests = [make_request(key) for key in fresh_keys(int(400 * SECONDS) * (1 if callers == 1 else 7))]

        async def issue(number: int, base: int = first, prepared: Sequence[bytes] = requests) -> None:
            csr = prepared[number] if number < len(prepared) else make_request()
            await issuance.issue(IssueDevice("wo-1", f"BMS-{base + number:06}", csr), STATION)

        await issue(0)
        count, seconds, times = await measure(callers, lambda number, go=issue: go(number + 1))  # type: ignore[misc]
        note(results, f"door_{callers}", count, seconds, times)
        first += count + 100


def fresh_keys(count: int) -> list[ec.EllipticCurvePrivateKey]:
    """Distinct P-256 keys; derived, because generating them would take longer than the measurement."""
    base = int.from_bytes(os.urandom(24), "big")
    return [ec.derive_private_key(base + number, ec.SECP256R1()) for number in range(count)]


def measure_http(results: Results) -> None:
    """One certificate a request through API and keyroom as processes, 32 callers, load generator on the same cores."""
    with tempfile.TemporaryDirectory(prefix="kedge-bench-") as work:
        stage = Stage(Path(work) / "out", Path(work), Console(quiet=True))
        try:
            staff, served = Issuer("https://staff.kedge.example"), ServedIssuer(stage.work)
            officers = Officers(stage, staff)
            stage.make_settings(officers.roster.digest, TOKENS)
            stage.start()
            hold_genesis(stage, officers, staff, served)
            now = int(time.time())
            plan = {
                "id": "bench", "profile": "idevid", "class_name": CLASS, "plant": PLANT, "prefix": "B-", "digits": 6,
                "first": 0, "last": QUANTITY - 1, "quantity": QUANTITY, "valid_from": now - 60,
                "valid_to": now + 86_400, "organization": "Bench",
            }  # fmt: skip
            officers.hold("bench-order", "work-order", plan)
            count, seconds, times = asyncio.run(load_http(stage, staff))
        finally:
            stage.stop()
    note(results, "http_single", count, seconds, times)


async def load_http(stage: Stage, staff: Issuer) -> tuple[int, float, list[float]]:
    """The load: one token, as a station has one for minutes."""
    requests = [make_request(key) for key in fresh_keys(int(1500 * SECONDS))]
    token = staff.issue("station:bench", role="station", plant=PLANT, **{"class": CLASS})
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/x-pem-file"}
    limits = httpx.Limits(max_connections=32)
    async with httpx.AsyncClient(
        base_url=stage.url, headers=headers, limits=limits, timeout=60, trust_env=False
    ) as client:

        async def issue(number: int) -> None:
            response = await client.put(f"/v1/work-orders/bench/devices/B-{number:06}", content=requests[number])
            assert response.status_code == 200, response.text

        return await measure(32, issue)


def main() -> None:
    """Run everything, print a table, write the file."""
    results: Results = {}
    with tempfile.TemporaryDirectory(prefix="kedge-bench-") as work:
        world = hsm_world(Path(work)).start()
        tune_collector()
        world.room.writer.run_now(lambda: measure_raw(world.room.door.strongbox, results))
        asyncio.run(measure_door(world, results))
        world.stop()
    measure_http(results)
    OUT.mkdir(exist_ok=True)
    (OUT / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    machine = (
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    )
    table = Table("figure", "per second", "of raw", "p50 ms", "p99 ms", title=machine)
    for name, item in results.items():
        share = f"{100 * item['ratio_to_raw']:.1f} %"
        table.add_row(name, f"{item['value']:,.0f}", share, str(item["p50_ms"]), str(item["p99_ms"]))
    Console(file=sys.stdout).print(table)


if __name__ == "__main__":
    main()
