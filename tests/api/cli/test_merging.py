"""An increment merged into the earlier export gives a complete export."""

from pathlib import Path

import pytest

from tests.api.cli.exporting import read_export, write_export
from tests.api.cli.running import answer, refusal
from tests.pki.log.building import POLICY, assemble_export
from tests.pki.log.stories import assemble_increment, blobs_named, note_of, story


def earlier(folder: Path, size: int) -> Path:
    files = assemble_export(story().entries[:size], {}) | blobs_named(story(), set(range(size)))
    return write_export(folder, files)


@pytest.mark.req("AU-2", "AU-10")
@pytest.mark.parametrize("old", [1, 200, 256, 257, 290, 305])
def test_the_whole_verifies_after_the_merge(tmp_path: Path, old: int) -> None:
    whole = earlier(tmp_path / "whole", old)
    increment = write_export(tmp_path / "increment", assemble_increment(story(), old))
    for path, data in [("trust", POLICY), ("since", note_of(story(), old))]:
        (tmp_path / path).write_bytes(data)
    trust = ("--trust", tmp_path / "trust", "--since", tmp_path / "since")
    assert answer("verify", increment, *trust)["scope"] == "increment"
    # Where the earlier export ends, operations may have been under way; a journal is not open in the increment.
    assert answer("journal", "merge", whole, increment)["size"] == 305
    report = answer("verify", whole, *trust)
    assert (report["scope"], report["size"], report["since"]) == ("complete", 305, old)
    tiles = {path for path in read_export(whole) if path.startswith("tile/")}
    assert tiles == {path for path in story().files() if path.startswith("tile/")}
    assert answer("journal", "merge", whole, increment)["size"] == 305 if old == 305 else True


@pytest.mark.req("AU-2", "T26")
def test_nothing_is_written_when_the_increment_is_not_this_exports(tmp_path: Path) -> None:
    whole = earlier(tmp_path / "whole", 200)
    before = read_export(whole)
    other = write_export(tmp_path / "other", assemble_increment(story(), 257))
    assert refusal("journal", "merge", whole, other) == "audit-failed"
    bad = assemble_increment(story(), 200)
    bad["tile/0/000"] = bytes(32) + bad["tile/0/000"][32:]
    assert refusal("journal", "merge", whole, write_export(tmp_path / "bad", bad)) == "audit-failed"
    assert refusal("journal", "merge", whole, whole) == "file-refused"
    assert read_export(whole) == before
