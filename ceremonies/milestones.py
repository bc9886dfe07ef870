"""Milestones: what followed from the entries at an earlier size, so that a start reads only what came after.

A milestone is a file of the keyroom's own, beside the anchor and believed as the anchor is; who administers the
database cannot write it. It holds the tree's frontier, so the entries after it must lead from there to the journal's
head. The entries before it are read again while the keyroom runs (`Scrub`): one that was changed ends the keyroom and
takes the milestone away, and the next start reads everything and names the entry.
"""

import hashlib
from pathlib import Path

import msgspec

from ceremonies.journal import RESTORE, JournalForked
from ceremonies.replay import Replay, read_pages
from ceremonies.store import Store
from pki.log.errors import LogError
from pki.log.merkle import Frontier, leaf_hash

DIGEST_SIZE = hashlib.sha256().digest_size
EVERY = 50_000
"""Entries from one milestone to the next."""

_VERSION = 1


class Milestone(msgspec.Struct, frozen=True):
    """The tree of the first `frontier.size` entries, and what follows from them."""

    frontier: Frontier
    replay: Replay


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What lies on disk. Only the software that wrote it reads it: another may draw other conclusions."""

    v: int
    software: str
    origin: str
    frontier: bytes
    replay: Replay


def milestone_path(data: Path) -> Path:
    """Where the milestone of a keyroom lies."""
    return data / "milestone"


def write_milestone(milestone: Milestone, origin: str, software: str) -> bytes:
    """The bytes of a milestone's file: SHA-256 of the rest first, for a disk may damage what can be read still."""
    file = _File(_VERSION, software, origin, milestone.frontier.encode(), milestone.replay)
    body = msgspec.msgpack.encode(file)
    return hashlib.sha256(body).digest() + body


def read_milestone(path: Path, origin: str, software: str, size: int) -> Milestone | None:
    """The milestone for a journal of `size` entries; None when there is none that this software can use.

    Raises JournalForked when it is of a longer journal: an older database was restored.
    """
    try:
        data = path.read_bytes()
        if hashlib.sha256(data[DIGEST_SIZE:]).digest() != data[:DIGEST_SIZE]:
            return None
        file = msgspec.msgpack.decode(data[DIGEST_SIZE:], type=_File)
        frontier = Frontier.decode(file.frontier)
    except (OSError, msgspec.MsgspecError, LogError):
        return None
    if (file.v, file.software, file.origin) != (_VERSION, software, origin):
        return None
    if frontier.size > size:
        raise JournalForked(f"the journal has {size} entries, and had {frontier.size} before", hint=RESTORE)
    return Milestone(frontier, file.replay)


class Scrub:
    """Reads the entries before a milestone again, page by page, in any thread."""

    def __init__(self, store: Store, until: Frontier) -> None:
        self._store = store
        self._until = until
        self._frontier = Frontier()

    @property
    def done(self) -> bool:
        """Whether everything was read."""
        return self._frontier.size >= self._until.size

    def turn(self) -> None:
        """Read one page more. Raises JournalForked, naming the entry or the range, when it is not what was written; and
        StoreUnavailable when it cannot be read: then the next turn reads the same page.
        """
        page = next(read_pages(self._store, self._frontier.size))
        hashes = []
        for at, row in enumerate(page[: self._until.size - self._frontier.size]):
            seq, leaf = self._frontier.size + at, row["leaf"]
            digest = leaf_hash(leaf) if isinstance(leaf, bytes) else b""
            if row["seq"] != seq or row["hash"] != digest:
                raise JournalForked(f"entry {seq} is missing, or is not the one that was written", hint=RESTORE)
            hashes.append(digest)
        if not hashes and not self.done:
            raise JournalForked(f"the entries from {self._frontier.size} on are missing", hint=RESTORE)
        self._frontier = self._frontier.extend(hashes)
        if self.done and self._frontier.root != self._until.root:
            raise JournalForked(f"the first {self._until.size} entries are not those that were written", hint=RESTORE)
