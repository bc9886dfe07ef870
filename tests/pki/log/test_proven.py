"""Single entries with proofs: pairs of files, all under one checkpoint."""

import pytest

from pki.log.checkpoints import Checkpoint
from pki.log.errors import AuditFailed
from pki.log.proven import proven_paths, read_proven, split_proven
from tests.pki.log.building import ORIGIN
from tests.pki.log.stories import note_of, prove, story, tree_of

SIZE = len(story().entries)
NOTE = note_of(story(), SIZE)
HEAD = Checkpoint(ORIGIN, SIZE, tree_of(story()).root())


def test_pairs_are_told_from_other_files() -> None:
    paths = [*proven_paths(10), *proven_paths(9), "proven/01.json", "proven/x", "checkpoint"]
    assert split_proven(paths) == ((9, 10), {"proven/01.json", "proven/x", "checkpoint"})
    with pytest.raises(AuditFailed, match=r"^proven/7\.tlog-proof: the file is missing"):
        split_proven(["proven/7.json"])


@pytest.mark.req("AU-2")
def test_an_entry_is_read_at_its_own_index_only() -> None:
    files = prove(story(), {9, 10}, NOTE)
    assert read_proven(files.__getitem__, 9, NOTE, HEAD).leaf.seq == 9
    for ending in (0, 1):
        moved = files | {proven_paths(9)[ending]: files[proven_paths(10)[ending]]}
        with pytest.raises(AuditFailed, match=r"^entry 9: "):
            read_proven(moved.__getitem__, 9, NOTE, HEAD)
    both = files | {proven_paths(9)[n]: files[proven_paths(10)[n]] for n in (0, 1)}
    with pytest.raises(AuditFailed, match=r"it proves entry 10"):
        read_proven(both.__getitem__, 9, NOTE, HEAD)
    with pytest.raises(AuditFailed, match="not under the checkpoint of this export"):
        read_proven(files.__getitem__, 9, note_of(story(), 20), HEAD)
