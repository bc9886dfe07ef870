"""A reader follows the keys of a journal, from one that it believes to the next."""

from typing import Any

import msgspec
import pytest

from pki.log.checkpoints import Checkpoint
from pki.log.digests import Digests
from pki.log.errors import AuditFailed, TrustPolicyInvalid
from pki.log.evidence import blob_path
from pki.log.exports import verify_export, walk_export
from pki.log.files import Files
from pki.log.leaves import encode_leaf, parse_leaf
from pki.log.merkle import Frontier, leaf_hash
from pki.log.notes import add_signature, parse_note
from pki.log.pins import KeyStop, advance_policy, check_pins, follow_head, read_change, spki_of, write_pins
from pki.log.policy import TrustPolicy, parse_policy
from tests.pki.log.building import LOG, ORIGIN, Journal, NoteKey, assemble_export, sign_checkpoint

NEW, LAST = NoteKey(77), NoteKey(78)
TEXT = f"# of graz\nlog {LOG.public.encode()}\nquorum none\n".encode()
PINNED = parse_policy(TEXT)


def pins(*keys: NoteKey) -> TrustPolicy:
    return parse_policy(b"".join(f"log {key.public.encode()}\n".encode() for key in keys) + b"quorum none\n")


def rotate(journal: Journal, act: str, old: NoteKey, new: NoteKey, **more: Any) -> None:
    facts = {"act": act, "old": old.public.encode(), "new": new.public.encode(), "reason": "old", **more}
    journal.add("log.key.rotate", op={"kind": "log.key.rotate", "what": facts})


class Rotated(Journal):
    """A journal whose keys follow each other, and its heads."""

    def head(self, *keys: NoteKey, size: int = 0) -> bytes:
        """A checkpoint over the first entries, signed by these keys."""
        size = size or len(self.entries)
        root = Frontier().extend([leaf_hash(entry) for entry in self.entries[:size]]).root
        checkpoint = Checkpoint(ORIGIN, size, root)
        note = sign_checkpoint(checkpoint, keys[0])
        for key in keys[1:]:
            (line,) = parse_note(key.sign(checkpoint.encode())).signatures
            note = add_signature(note, line.name, line.key_id, line.signature)
        return note

    def change(self, old: NoteKey, new: NoteKey, kept: bytes | None = None) -> None:
        """An overlap, and its end; with the last checkpoint of both, or with another one."""
        rotate(self, "begin", old, new)
        note = kept if kept is not None else self.head(old, new)
        rotate(self, "end", old, new, **({"checkpoint": self.blob(note)} if note else {}))

    def export(self, policy: TrustPolicy, head: bytes) -> Files:
        """As a centre reads it."""
        files = assemble_export(self.entries, self.blobs) | {"checkpoint": head}
        files = {path: data for path, data in files.items() if not path.startswith("checkpoints/")}
        blobs = [blob_path(name) for name in self.blobs]
        return Files(files.__getitem__, frozenset(files) - set(blobs), policy, blobs=Digests(self.blobs))


def begin() -> Rotated:
    journal = Rotated()
    journal.add("log.start")
    return journal


def follow(files: Files, policy: TrustPolicy) -> TrustPolicy:
    """What a reader believes after it has read all of an export. Raises AuditFailed."""
    files = follow_head(files, 0)
    verify_export(files)
    found = (read_change(seq, parse_leaf(data)) for seq, data in walk_export(files))
    pinned = advance_policy(policy, [change for change in found if change])
    check_pins(files, pinned)
    return pinned


@pytest.mark.req("AU-2", "KL-9")
def test_a_reader_follows_from_key_to_key() -> None:
    journal = begin()
    assert follow(journal.export(PINNED, journal.head(LOG)), PINNED) == PINNED
    rotate(journal, "begin", LOG, NEW)
    both = follow(journal.export(PINNED, journal.head(LOG, NEW)), PINNED)
    assert both.logs == (LOG.public, NEW.public)
    last = journal.head(LOG, NEW)
    rotate(journal, "end", LOG, NEW, checkpoint=journal.blob(last))
    assert follow(journal.export(both, journal.head(NEW)), both).logs == (NEW.public,)
    journal.change(NEW, LAST)
    assert follow(journal.export(PINNED, journal.head(LAST)), PINNED).logs == (LAST.public,)
    with pytest.raises(AuditFailed):  # the key that was given up signs no more
        follow(journal.export(both, journal.head(LOG)), both)


def stop(journal: Journal, key: NoteKey, state: str) -> None:
    what = {"from": "active", "to": state, "reason": "stolen"}
    keys = [{"label": "journal", "spki": spki_of(key.public)}]
    journal.add("key.state", op={"kind": "key.state", "what": what}, keys=keys)


@pytest.mark.req("AU-2", "KL-9", "T26")
def test_a_key_that_was_stolen_in_an_overlap_is_believed_no_more() -> None:
    """Its thief could fork the journal for ever; nobody retires it, for it is not active any more."""
    journal = begin()
    rotate(journal, "begin", LOG, NEW)
    both = follow(journal.export(PINNED, journal.head(LOG, NEW)), PINNED)
    stop(journal, LOG, "suspended")  # officers may still resume it
    assert follow(journal.export(both, journal.head(NEW)), both) == both
    stop(journal, LOG, "compromised")
    assert follow(journal.export(both, journal.head(NEW)), both).logs == (NEW.public,)
    assert follow(journal.export(PINNED, journal.head(LOG, NEW)), PINNED).logs == (NEW.public,)
    with pytest.raises(AuditFailed):
        follow(journal.export(both, journal.head(LOG)), both)
    gone = {"op": {"kind": "key.destroy"}, "keys": [{"spki": spki_of(LOG.public)}], "ref": journal.ref(0)}
    for status, found in (("ok", KeyStop(9, spki_of(LOG.public))), ("fail", None)):
        leaf = parse_leaf(encode_leaf(journal.leaf("key.destroy.outcome", out={"status": status}, **gone)))
        assert read_change(9, leaf) == found
    journal = begin()
    stop(journal, LOG, "deactivated")  # a box that says so of its last key signs on with it, or not at all
    assert follow(journal.export(PINNED, journal.head(LOG)), PINNED) == PINNED


@pytest.mark.req("AU-2", "KL-9", "T26")
def test_who_names_a_new_key_must_have_the_old_one() -> None:
    """An end without a kept checkpoint; one by the new key alone, from before the change, of other entries."""
    other = begin()
    other.add("log.stop")
    kept = [b"", begin().head(LOG), other.head(LOG, NEW), b"no note"]
    journal = begin()
    rotate(journal, "begin", LOG, NEW)
    kept.append(journal.head(NEW))
    for note in kept:
        journal = begin()
        journal.change(LOG, NEW, note)
        with pytest.raises(AuditFailed):
            follow(journal.export(PINNED, journal.head(NEW)), PINNED)
    stranger = begin()
    with pytest.raises(AuditFailed):
        follow(stranger.export(PINNED, stranger.head(NEW)), PINNED)
    stranger.change(LAST, NEW)
    with pytest.raises(AuditFailed):
        follow(stranger.export(PINNED, stranger.head(NEW)), PINNED)
    damaged = stranger.export(PINNED, stranger.head(NEW))
    paths = frozenset(path for path in damaged.paths if not path.startswith("tile/entries"))
    with pytest.raises(AuditFailed):
        follow_head(Files(damaged.read, paths, PINNED, blobs=damaged.blobs), 0)


def test_what_changes_no_key_is_ignored() -> None:
    changes = [("begin", LOG, LOG), ("pause", LOG, NEW), ("begin", LOG, NoteKey(5, "other.example/journal"))]
    for act, old, new in changes:
        journal = begin()
        rotate(journal, act, old, new)
        assert read_change(1, parse_leaf(journal.entries[1])) is None
    assert read_change(0, parse_leaf(begin().entries[0])) is None
    journal = begin()
    rotate(journal, "begin", LAST, NEW)
    change = read_change(1, parse_leaf(journal.entries[1]))
    assert change is not None and advance_policy(PINNED, [change]) == PINNED


def test_pins_are_written_into_the_policy() -> None:
    text = write_pins(TEXT, pins(NEW, LAST))
    assert parse_policy(text) == pins(NEW, LAST) and b"# of graz" in text
    for more in (tuple(NoteKey(seed).public for seed in range(65)), (LOG.public, LOG.public)):
        with pytest.raises(TrustPolicyInvalid):
            write_pins(TEXT, msgspec.structs.replace(PINNED, logs=more))
