"""The door on PostgreSQL, for `make bench`: `door_64_postgresql`, on a cluster of its own on a disk.

`python -m tests.bench_postgresql` measures it alone.
"""

import tempfile
from pathlib import Path

import uvloop

from ceremonies.process import tune_collector
from tests.bench import Results, measure_door, open_world
from tests.bench_raw import RawSigner, raw_signer
from tests.postgres import running_cluster


def measure_postgresql(raw: RawSigner, results: Results) -> None:
    """Device certificates by 64 callers, with the database on PostgreSQL, reached by its Unix socket, fsync on."""
    with running_cluster(on_disk=True) as cluster, tempfile.TemporaryDirectory(prefix="kedge-bench-") as work:
        world = open_world(Path(work), cluster.create())
        uvloop.run(measure_door(world, raw, results, {64: "door_64_postgresql"}))
        world.stop()


def main() -> None:
    """Measure and print."""
    tune_collector()
    with tempfile.TemporaryDirectory(prefix="kedge-bench-") as work, raw_signer(Path(work)) as raw:
        measure_postgresql(raw, {})


if __name__ == "__main__":
    main()
