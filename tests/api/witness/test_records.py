"""Records of a witness: durable, of one process, and evidence that does not fill the disk."""

import os
import stat
from pathlib import Path

import pytest

from api.witness import records
from api.witness.records import MAX_FAILED, MAX_FORKS, Records, list_evidence, origin_hash, write_file
from api.witness.settings import WitnessMisconfigured

ORIGIN = "kedge.example/journal"


def test_a_checkpoint_is_kept(tmp_path: Path) -> None:
    kept = Records(tmp_path)
    assert kept.read(origin_hash(ORIGIN)) is None
    kept.keep(ORIGIN, b"one")
    kept.keep(ORIGIN, b"two")
    assert kept.read(origin_hash(ORIGIN)) == b"two"
    kept.close()
    assert Records(tmp_path).read(origin_hash(ORIGIN)) == b"two"


@pytest.mark.req("T26", "AU-11")
def test_a_witness_that_forgot_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(WitnessMisconfigured, match="missing"):
        Records(tmp_path / "lost")


def test_two_processes_do_not_share_records(tmp_path: Path) -> None:
    first = Records(tmp_path)
    with pytest.raises(WitnessMisconfigured, match="another witness"):
        Records(tmp_path)
    first.close()
    Records(tmp_path).close()


def test_bytes_and_names_are_synced_before_the_call_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    path, real = tmp_path / "a" / "b" / "c", os.fsync

    def fsync(descriptor: int) -> None:
        name = Path(f"/proc/self/fd/{descriptor}").readlink().name
        synced.append(f"{name}{'/' if stat.S_ISDIR(os.fstat(descriptor).st_mode) else ''}{path.exists():d}")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    write_file(path, b"one")
    assert synced == [".c.new0", "b/1", "a/1", f"{tmp_path.name}/1"]


@pytest.mark.req("T26", "AU-11")
def test_evidence_is_kept_once_with_both_checkpoints_and_the_proof(tmp_path: Path) -> None:
    kept = Records(tmp_path)
    for _ in range(2):
        kept.keep_evidence(ORIGIN, b"cosigned\n\nsigned\n", b"old 1\n\nother", proven=True, why="two roots")
    (place,) = list_evidence(tmp_path, ORIGIN)
    assert place.name.startswith("fork-")
    found = {path.name: path.read_bytes() for path in place.iterdir()}
    assert found == {"cosigned": b"cosigned\n\nsigned\n", "request": b"old 1\n\nother", "why": b"two roots\n"}
    assert list_evidence(tmp_path, "other") == []


def test_false_proofs_do_not_push_forks_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MAX_FAILED", 3)
    monkeypatch.setattr(records, "MAX_FORKS", 2)
    assert (MAX_FAILED, MAX_FORKS) == (64, 256)
    kept = Records(tmp_path)
    for number in range(3):
        kept.keep_evidence(ORIGIN, b"c\n\n", b"fork %d" % number, proven=True, why="")
    for number in range(6):
        kept.keep_evidence(ORIGIN, b"c\n\n", b"proof %d" % number, proven=False, why="")
    requests = {(path / "request").read_bytes() for path in list_evidence(tmp_path, ORIGIN)}
    assert {b"fork 0", b"fork 1", b"proof 5"} <= requests
    assert len(requests) == 5
