"""The door on PostgreSQL, for `make bench`: the certificates of `door_64`, on a cluster of its own on a disk.

`measure_postgresql(results)` adds `door_64_postgresql`; `results` holds `raw_sign_p256` already.
`python -m tests.bench_postgresql` measures it alone, with the bare signature rate before it.
"""

import asyncio
import tempfile
from pathlib import Path

from ceremonies.commands import IssueDevice
from ceremonies.issuance import Issuance
from ceremonies.process import tune_collector
from tests.bench import QUANTITY, SECONDS, STATION, Results, fresh_keys, measure, measure_raw, note
from tests.postgres import running_cluster
from tests.world import World, hsm_world, make_request

CALLERS = 64


def measure_postgresql(results: Results) -> None:
    """Device certificates by 64 callers, with the database on PostgreSQL, reached by its Unix socket, fsync on."""
    with running_cluster(on_disk=True) as cluster, tempfile.TemporaryDirectory(prefix="kedge-bench-") as work:
        world = hsm_world(Path(work), cluster.create()).start()
        try:
            if "raw_sign_p256" not in results:
                world.room.writer.run_now(lambda: measure_raw(world.room.door.strongbox, results))
            asyncio.run(measure_door(world, results))
        finally:
            world.stop()


async def measure_door(world: World, results: Results) -> None:
    """As tests.bench does it, without HTTP and token."""
    await world.genesis()
    await world.open_order(quantity=QUANTITY, last=QUANTITY - 1)
    issuance = Issuance(world.room)
    requests = [make_request(key) for key in fresh_keys(int(3000 * SECONDS))]

    async def issue(number: int) -> None:
        csr = requests[number] if number < len(requests) else make_request()
        await issuance.issue(IssueDevice("wo-1", f"BMS-{1 + number:06}", csr), STATION)

    await issue(0)
    count, seconds, times = await measure(CALLERS, lambda number: issue(number + 1))
    note(results, "door_64_postgresql", count, seconds, times)


if __name__ == "__main__":
    tune_collector()
    measure_postgresql({})
