"""A journal of millions of entries: filled, served, proven, exported, verified, by us and by a foreign tool.

`python -m tests.bench_million [CERTIFICATES]`, a million by default; what that costs is in docs/performance.md.
Its files lie in TMPDIR. Adds its figures to bench-out/results.json. Ended early, it begins anew.
"""

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from ceremonies.process import tune_collector
from ceremonies.upkeep import Upkeep
from tests.bench import OUT, QUANTITY, SECONDS, Results, measure_door, note, open_world
from tests.bench_fill import fill
from tests.bench_raw import RawSigner, raw_signer
from tests.bench_reading import (
    Measured,
    Peak,
    Watch,
    build_foreign,
    count_bytes,
    export,
    flood,
    forget_pages,
    measure_proofs,
    measure_tiles,
    read_memory,
    run_measured,
    verify,
)
from tests.world import World

ROUNDS = 2
KB_EACH, FILES_EACH = 28, 4.5
"""What a certificate takes on disk: rows, the files of an export, a reserve."""
DOOR_ROOM = 100_000
SETTLE_S = 3.0


class Plan(msgspec.Struct, frozen=True):
    """How many certificates, how long each rate is measured, and the folder for everything.

    Serials of the rates and of the flood lie behind those of the filling.
    """

    count: int
    seconds: float
    folder: Path

    @property
    def trust(self) -> Path:
        """The policy that the export is verified under."""
        return self.folder / "trust"


class DiskTooSmall(Exception):
    """There is no room for the journal and its export."""


def check_space(plan: Plan) -> None:
    """Raises DiskTooSmall before an hour is spent."""
    stat = os.statvfs(plan.folder)
    free, files = stat.f_bavail * stat.f_frsize, stat.f_favail
    if free < plan.count * KB_EACH * 1024 or files < plan.count * FILES_EACH:
        raise DiskTooSmall(f"{plan.folder} has {free >> 30} GB and {files:,} files free, {plan.count:,} certificates "
                           f"want {plan.count * KB_EACH >> 20} GB and {int(plan.count * FILES_EACH):,} files: "
                           f"set TMPDIR")  # fmt: skip


def put(results: Results, name: str, value: float, unit: str) -> None:
    """One figure that is no rate."""
    results[name] = {"value": round(value, 3), "unit": unit}
    print(f"{name}: {value:,.3f} {unit}", flush=True)


@contextmanager
def step(what: str) -> Iterator[None]:
    """Say what is done, and how long it took."""
    print(f"{time.strftime('%H:%M:%S')} {what} ...", flush=True)
    started = time.perf_counter()
    yield
    print(f"{time.strftime('%H:%M:%S')} {what}: {time.perf_counter() - started:,.1f} s", flush=True)


async def prepare(world: World) -> None:
    """Genesis, and a work order that is large enough."""
    await world.genesis()
    await world.open_order(quantity=QUANTITY, last=QUANTITY - 1, digits=7)


async def fill_world(world: World, plan: Plan, results: Results) -> None:
    """The journal, a milestone at its end as the keyroom writes one at times, and the policy to verify by."""
    rates: list[float] = []

    def told(done: int, rate: float) -> None:
        rates.append(rate)
        print(f"{time.strftime('%H:%M:%S')} filled {done:,} of {plan.count:,}, {rate:,.0f}/s", flush=True)

    await prepare(world)
    with step("fill"):
        started = time.perf_counter()
        await world.room.act(lambda: fill(world, 1, plan.count, told))
        put(results, "fill", plan.count / (time.perf_counter() - started), "certificates/s")
    put(results, "fill_first_tenth", rates[0], "certificates/s")
    put(results, "fill_last_tenth", rates[-1], "certificates/s")
    put(results, "journal_entries", world.room.ledger.journal.size, "entries")
    assert world.room.ledger.log_key is not None
    plan.trust.write_text(f"log {world.room.ledger.log_key.vkey.encode()}\nquorum none\n")
    await Upkeep(world.room, os._exit).keep()


async def measure_doors(worlds: Mapping[str, World], plan: Plan, raw: RawSigner, results: Results) -> None:
    """The same load on an empty journal and on the full one, there and back: the machine is another every minute."""
    rates: dict[str, list[float]] = {name: [] for name in worlds}
    for turn in range(ROUNDS):
        for name, world in sorted(worlds.items(), reverse=bool(turn % 2)):
            first = plan.count + 1 + turn * DOOR_ROOM
            await measure_door(world, raw, results, {64: name}, first=first, prepare=False)
            rates[name].append(results[name]["value"])
    for name in worlds:
        results[name]["value"] = sum(rates[name]) / ROUNDS
    put(results, "million_ratio", sum(rates["door_64_full"]) / sum(rates["door_64_empty"]), "")


async def write(worlds: Mapping[str, World], plan: Plan, raw: RawSigner, results: Results) -> None:
    """Fill one world, and measure the rates of both."""
    full = worlds["door_64_full"]
    await fill_world(full, plan, results)
    await prepare(worlds["door_64_empty"])
    await measure_doors(worlds, plan, raw, results)


def measure_writing(plan: Plan, raw: RawSigner, results: Results) -> World:
    """Fill, and the rates of the door. Returns the full world, stopped."""
    full, empty = open_world(plan.folder / "full"), open_world(plan.folder / "empty")
    try:
        tune_collector()
        asyncio.run(write({"door_64_empty": empty, "door_64_full": full}, plan, raw, results))
    finally:
        full.stop()
        empty.stop()
    return full


def measure_starts(world: World, plan: Plan, results: Results) -> Watch:
    """The process from its first instruction to its first answer, Python included; first as after a boot."""
    forget_pages(world.settings().data)
    cold = Watch(world)
    put(results, "start_two_million_cold_s", cold.start_s, "s")
    cold.running.end()
    watch = Watch(world)
    put(results, "start_two_million_s", watch.start_s, "s")
    put(results, "start_two_million_cpu_s", watch.start_cpu_s, "s")
    time.sleep(min(SETTLE_S, plan.seconds))
    put(results, "keyroom_rest_rss_mb", read_memory(watch.pid), "MB")
    return watch


def measure_serving(world: World, plan: Plan, results: Results) -> None:
    """Proofs and tiles, over the keyroom's socket."""
    for name, work in (
        ("proofs_1", measure_proofs(world, plan.seconds)),
        ("tiles_hashes_8", measure_tiles(world, 2 * plan.count, 0, plan.seconds)),
        ("tiles_entries_8", measure_tiles(world, 2 * plan.count, -1, plan.seconds)),
    ):
        note(results, name, asyncio.run(work))


def put_run(results: Results, name: str, done: Measured) -> None:
    """What a command took: seconds by the clock and of processor time, and its own memory."""
    put(results, f"{name}_s", done.seconds, "s")
    put(results, f"{name}_cpu_s", done.cpu_s, "s")
    put(results, f"{name}_peak_rss_mb", done.peak_mb, "MB")


def put_export(results: Results, name: str, done: Measured, folder: Path) -> None:
    """Seconds, files and bytes of an export."""
    files, size = count_bytes(folder)
    put_run(results, name, done)
    put(results, f"{name}_files", files, "files")
    put(results, f"{name}_mb", size / 1e6, "MB")


def measure_exports(world: World, watch: Watch, plan: Plan, results: Results) -> None:
    """The whole journal; a flood; and what came since. The keyroom's memory in both."""
    whole, since = plan.folder / "whole", plan.folder / "since"
    with step("complete export"), Peak(watch.pid) as held:
        done = export(world, whole)
    put_export(results, "export", done, whole)
    put(results, "keyroom_export_rss_mb", held.mb, "MB")
    with step("flood"), Peak(watch.pid) as held:
        note(results, "flood_64", asyncio.run(flood(world, QUANTITY // 2, 2 * plan.seconds)))
    put(results, "keyroom_rss_mb", held.mb, "MB")
    with step("incremental export"):
        done = export(world, since, "--since", whole / "checkpoint")
    put_export(results, "increment", done, since)


def measure_verifying(plan: Plan, results: Results) -> None:
    """By `kedge verify`, the whole and what came since."""
    whole, since = plan.folder / "whole", plan.folder / "since"
    for name, folder, options in (
        ("verify", whole, ()),
        ("verify_increment", since, ("--since", whole / "checkpoint")),
    ):
        with step(name):
            done = verify(folder, plan.trust, *options)
        put_run(results, name, done)


def measure_foreign(plan: Plan, results: Results) -> None:
    """By Go, the whole."""
    vkey = plan.trust.read_text().split()[1]
    with step("verification by Go"):
        foreign = run_measured([build_foreign(plan.folder), "export", plan.folder / "whole", vkey])
    put_run(results, "verify_go", foreign)


def measure_million(plan: Plan, results: Results) -> None:
    """Everything, in one folder."""
    check_space(plan)
    with raw_signer(plan.folder / "raw") as raw:
        world = measure_writing(plan, raw, results)
    measure_reading(world, plan, results)


def measure_reading(world: World, plan: Plan, results: Results) -> None:
    """What is asked of a stopped world's journal."""
    size = sum(file.stat().st_size for file in world.settings().data.iterdir())
    put(results, "database_mb", size / 1e6, "MB")
    read_all(world, measure_starts(world, plan, results), plan, results)
    measure_foreign(plan, results)


def read_all(world: World, watch: Watch, plan: Plan, results: Results) -> None:
    """Everything that is asked of a running keyroom, and `kedge verify`."""
    try:
        measure_serving(world, plan, results)
        measure_exports(world, watch, plan, results)
    finally:
        watch.running.end()
    measure_verifying(plan, results)


def main(count: int) -> None:
    """Measure, print, add to the file of results; what was measured before something failed, too."""
    results: Results = {}
    try:
        with tempfile.TemporaryDirectory(prefix="kedge-bench-") as folder:
            measure_million(Plan(count, SECONDS, Path(folder)), results)
            print("removing the files, which takes minutes", flush=True)
    finally:
        OUT.mkdir(exist_ok=True)
        file = OUT / "results.json"
        known = json.loads(file.read_text()) if file.exists() else {}
        file.write_text(json.dumps(known | results, indent=1) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
