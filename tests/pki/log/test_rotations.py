"""Keys of a journal that its own entries name."""

from typing import Any

import msgspec
import pytest

from pki.log.audit import audit_journal
from pki.log.checkpoints import Checkpoint
from pki.log.errors import AuditFailed
from pki.log.leaves import parse_leaf
from pki.log.merkle import Frontier, leaf_hash
from pki.log.notes import LOG_KEY, VerifierKey, parse_note
from pki.log.policy import parse_policy
from pki.log.rotations import LogKeys
from tests.pki.log.building import LOG, ORIGIN, Files, Journal, NoteKey, assemble_export, sign_checkpoint

NEW = NoteKey(77)
TRUST_NEW = parse_policy(f"log {NEW.public.encode()}\nquorum none\n".encode())


def rotated(**what: Any) -> Journal:
    """A journal of three entries; the second changes the key."""
    journal = Journal()
    facts = {"act": "begin", "old": LOG.public.encode(), "new": NEW.public.encode(), "reason": "old", **what}
    journal.add("log.start")
    journal.add("log.key.rotate", op={"kind": "log.key.rotate", "what": facts})
    journal.add("log.stop")
    return journal


def export(journal: Journal, earlier: NoteKey, head: NoteKey = NEW) -> Files:
    """Its export under the new key, with the checkpoint of the first entry under the old one."""
    hashes = [leaf_hash(entry) for entry in journal.entries]
    files = assemble_export(journal.entries, {})
    files["checkpoint"] = sign_checkpoint(Checkpoint(ORIGIN, 3, Frontier().extend(hashes).root), head)
    files["checkpoints/1"] = sign_checkpoint(Checkpoint(ORIGIN, 1, Frontier().extend(hashes[:1]).root), earlier)
    return files


def audit(files: Files) -> int:
    """How many earlier checkpoints an auditor with the new key finds borne out."""
    return audit_journal(files.__getitem__, list(files), TRUST_NEW).checkpoints


@pytest.mark.req("AU-2", "AU-4")
def test_a_checkpoint_from_before_the_change_is_verified_with_the_key_that_the_entries_name() -> None:
    files = export(rotated(), LOG)
    assert audit(files) == 1
    line = parse_note(files["checkpoints/1"]).signatures[0]
    false = msgspec.structs.replace(line, signature=bytes(64))
    files["checkpoints/1"] = files["checkpoints/1"].replace(line.encode(), false.encode())
    with pytest.raises(AuditFailed, match=r"checkpoints/1: the signature of .* is false"):
        audit(files)


@pytest.mark.req("AU-2", "T26")
@pytest.mark.parametrize(
    "journal",
    [rotated(old=NEW.public.encode()), rotated(old="nonsense"), rotated(old=NoteKey(5).public.encode()), Journal()],
    ids=["another pair", "no key", "another key", "no rotation"],
)
def test_a_key_that_no_entry_names_vouches_for_nothing(journal: Journal) -> None:
    while len(journal.entries) < 3:
        journal.add("log.start")
    with pytest.raises(AuditFailed, match=r"checkpoints/1: .*signed by no known key"):
        audit(export(journal, LOG))


@pytest.mark.req("AU-2", "T26")
def test_the_head_is_never_believed_for_what_the_entries_under_it_say() -> None:
    for head in (LOG, NoteKey(5)):
        with pytest.raises(AuditFailed, match=r"^checkpoint: .*signed by no known key"):
            audit(export(rotated(new=NoteKey(5).public.encode()), LOG, head))


def test_a_head_with_both_signatures_is_believed_by_whoever_knows_one() -> None:
    files = export(rotated(), LOG)
    text = parse_note(files["checkpoint"]).text
    files["checkpoint"] += parse_note(LOG.sign(text)).signatures[0].encode()
    for key in (LOG, NEW):
        policy = parse_policy(f"log {key.public.encode()}\nquorum none\n".encode())
        assert audit_journal(files.__getitem__, list(files), policy).signers == (key.public.encode(),)


def test_only_keys_of_this_journal_are_taken() -> None:
    other = VerifierKey("kedge.example/other", LOG_KEY, NoteKey(5).public.public_key)
    keys = LogKeys()
    for entry in rotated(new=other.encode()).entries:
        keys.take(parse_leaf(entry))
    widened = keys.widen(TRUST_NEW)
    assert widened is not None
    assert widened.logs == (NEW.public, LOG.public)
    assert keys.widen(None) is None
