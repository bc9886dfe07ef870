"""The code of `tests.bench_million` on a small journal, so that it can always be run on a large one."""

import asyncio
from pathlib import Path

import pytest

from tests.bench import Results, open_world
from tests.bench_million import DiskTooSmall, Plan, check_space, fill_world, read_all
from tests.bench_reading import Watch


@pytest.mark.req("AU-2")
def test_bench(tmp_path: Path) -> None:
    plan, results = Plan(300, 0.1, tmp_path), Results()
    world = open_world(tmp_path / "full")
    try:
        asyncio.run(fill_world(world, plan, results))
    finally:
        world.stop()
    read_all(world, Watch(world), plan, results)
    assert results["journal_entries"]["value"] > 600
    assert results["export_files"]["value"] > 4 * 300
    assert 0 < results["keyroom_rss_mb"]["value"] < 300
    assert results["increment_files"]["value"] > 4
    assert {"proofs_1", "tiles_hashes_8", "tiles_entries_8", "flood_64", "verify_s", "verify_increment_s"} <= {*results}


def test_a_disk_that_is_too_small_is_told_before(tmp_path: Path) -> None:
    with pytest.raises(DiskTooSmall, match="set TMPDIR"):
        check_space(Plan(10**12, 1, tmp_path))
