"""How long a suspension takes while 64 callers ask for certificates, for `make bench`: `flood_suspend_ms`.

`python -m tests.bench_flood` measures it alone, and adds it to bench-out/results.json.
"""

import asyncio
import json
import tempfile
import time
from pathlib import Path

from ceremonies.commands import IssueDevice, KeysListed, SuspendKey
from ceremonies.issuance import Issuance
from ceremonies.keyring import KeyNotActive
from ceremonies.process import tune_collector
from tests.bench import OUT, QUANTITY, STATION, Results, fresh_keys, open_world
from tests.world import World, make_request

CALLERS = 64
TURNS = 15
REQUESTS = 1500
"""More than the callers use until the suspension."""
FLOODED_S = 0.5


async def measure_flood(world: World, results: Results) -> None:
    """From an officer's request to its answer, token check and journal entry included; the slowest of all turns."""
    issuance, numbers = Issuance(world.room), iter(range(QUANTITY // 2, QUANTITY))
    times: list[float] = []
    for turn in range(TURNS):
        requests = [make_request(key) for key in fresh_keys(REQUESTS)]

        async def call(prepared: list[bytes] = requests) -> None:
            while True:
                try:
                    csr = prepared.pop() if prepared else make_request()
                    await issuance.issue(IssueDevice("wo-1", f"BMS-{next(numbers):07}", csr), STATION)
                except KeyNotActive:
                    return

        flood = [asyncio.create_task(call()) for _ in range(CALLERS)]
        await asyncio.sleep(FLOODED_S)
        started = time.perf_counter()
        await world.ask(SuspendKey("device-ca", "flood"), "officer", KeysListed)
        times.append(1000 * (time.perf_counter() - started))
        await asyncio.gather(*flood)
        await world.ceremony(f"resume-{turn}", "resume", {"labels": ["device-ca"], "reason": "flood"})
    slowest, median = round(max(times), 1), round(sorted(times)[TURNS // 2], 1)
    results["flood_suspend_ms"] = {"value": slowest, "unit": "ms", "p50_ms": median, "max_ms": slowest, "count": TURNS}
    print(f"flood_suspend_ms: {slowest} at most, {median} in the middle, of {TURNS}", flush=True)


async def measure_alone(world: World, results: Results) -> None:
    """On an empty journal."""
    await world.genesis()
    await world.open_order(quantity=QUANTITY, last=QUANTITY - 1, digits=7)
    await measure_flood(world, results)


def main() -> None:
    """Measure, print, add to the file of results."""
    results: Results = {}
    with tempfile.TemporaryDirectory(prefix="kedge-bench-") as work:
        world = open_world(Path(work))
        tune_collector()
        asyncio.run(measure_alone(world, results))
        world.stop()
    OUT.mkdir(exist_ok=True)
    file = OUT / "results.json"
    known = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(known | results, indent=1) + "\n")


if __name__ == "__main__":
    main()
