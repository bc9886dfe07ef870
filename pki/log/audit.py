"""Offline verification of an exported journal, with public keys only.

Steps, each naming the first bad thing it meets:
1. the checkpoint parses; with a policy, a listed log signed it and the witnesses' quorum cosigned it; an earlier one
   may be signed by a key that the entries name as one before or after the listed key (`pki.log.rotations`);
2. the files are exactly those of a log of that size: none missing, none surplus (c2sp.org/tlog-tiles); time-stamps
   are those of earlier checkpoints (`pki.log.stamps`);
3. each entry hashes to its place in tile/0, and is a leaf in canonical form (`pki.log.leaves`);
4. seq, prev, kctr, approvals and intents fit together (`pki.log.ledger`);
5. drafts, signed bytes, public keys and signatures bear the entries out (`pki.log.evidence`);
6. each hash tile, each earlier checkpoint and the root follow from the entries;
7. no intent is open, and no blob is there that no entry names.
"""

import re
from collections.abc import Callable, Iterable
from itertools import zip_longest

import msgspec

from pki.log.checkpoints import Checkpoint
from pki.log.edges import Row, read_edge
from pki.log.errors import AuditFailed, LeafInvalid, NoteUnsigned, TileInvalid
from pki.log.evidence import Evidence
from pki.log.files import CHECKPOINT, DOCUMENTS, Files, check_head
from pki.log.leaves import Leaf, parse_leaf
from pki.log.ledger import Ledger, refuse_entry
from pki.log.merkle import grow, leaf_hash
from pki.log.parties import named_entries
from pki.log.policy import TrustPolicy
from pki.log.proven import ProvenLeaf
from pki.log.reports import ALL, BETWEEN, Report, Tally
from pki.log.rotations import LogKeys
from pki.log.stamps import check_stamps
from pki.log.tiles import (
    ENTRIES,
    WIDTH,
    Tile,
    increment_start,
    increment_tiles,
    parse_hash_tile,
    split_bundle,
)

SINCE = "since"

_EARLIER = re.compile(r"checkpoints/(0|[1-9][0-9]{0,18})\Z", re.ASCII)


def audit_journal(
    read: Callable[[str], bytes],
    paths: Iterable[str],
    policy: TrustPolicy | None,
    *,
    allow_open: bool = False,
    since: Checkpoint | None = None,
) -> Report:
    """Verify an export: `paths` are all its files, relative with `/`, and `read` gives the content of one.

    Raises AuditFailed, which names the first bad entry or file. `allow_open` accepts intents that are not closed yet,
    as in a copy of a running journal. `since`: a checkpoint that the entries must bear out, too.
    """
    return audit_files(Files(read, frozenset(paths), policy), allow_open=allow_open, since=since)


def audit_files(files: Files, *, allow_open: bool = False, since: Checkpoint | None = None) -> Report:
    """The same for `Files`."""
    audit = Audit(files, since=since)
    audit.check_entries()
    return audit.finish(allow_open=allow_open)


class Audit:
    """One run over one export. Memory grows with keys, open intents and tiles; an entry costs one byte, a blob 33.

    since: an earlier checkpoint that the entries must bear out. known: how many entries were checked another time; the
    export then begins with the bundle of the last of them. carried: entries from before it, proven one by one.
    """

    def __init__(
        self, files: Files, *, since: Checkpoint | None = None, known: int = 0, carried: Iterable[ProvenLeaf] = ()
    ) -> None:
        self._files, self._read = files, files.read
        self._checkpoint, self._head = files.head()
        size, self._known, first = self._checkpoint.size, known, increment_start(known)
        files.check_documents()
        self._since = since.size if since else 0
        self._earlier, self._unsigned = _check_earlier(files, self._checkpoint, first)
        self._keys = LogKeys()
        self._checked_earlier = len(self._earlier)
        self._stamps = check_stamps(files, [path for path, _ in self._earlier])
        rest = set(files.paths) - {CHECKPOINT} - DOCUMENTS - {path for path, _ in self._earlier} - self._stamps.keys()
        if since is not None:
            self._earlier = sorted([*self._earlier, (SINCE, since)], key=lambda item: item[1].size)
        self._evidence = Evidence(files.read, _check_tiles(rest, known, size), files.blobs)
        self._ledger = Ledger(self._checkpoint.origin, first, known)
        self._unneeded = {item.index for item in carried}
        for item in carried:
            self._ledger.carry(item.index, item.digest, item.leaf)
        self._last_uses = {key.spki: item.index for item in carried for key in item.leaf.keys or () if key.kctr}
        self._frontier, rows = read_edge(first, size, files.read)
        self._rows = dict(rows)
        self._edge = [row.tile.path for row in rows.values() if row.known]
        self._tally = Tally()

    def check_entries(self) -> None:
        """Steps 3 to 5 for all entries, bundle by bundle, and step 6 as far as they reach."""
        size = self._checkpoint.size
        for index in range(self._frontier.size // WIDTH, -(-size // WIDTH)):
            width = min(WIDTH, size - index * WIDTH)
            hashes = self._check_bundle(Tile(ENTRIES, index, width), Tile(0, index, width))
            self._check_passed(hashes)
            self._frontier, runs = grow(self._frontier, hashes)
            for run in runs:
                if run.level and run.level % 8 == 0:
                    self._row(run.level // 8).add(run, self._read)

    def _row(self, level: int) -> Row:
        if level not in self._rows:
            self._rows[level] = Row(level)
        return self._rows[level]

    def finish(self, *, allow_open: bool) -> Report:
        """The rest of step 6, and step 7."""
        for row in self._rows.values():
            row.check_last(self._read)
        if self._frontier.root != self._checkpoint.root:
            raise AuditFailed("checkpoint: its root hash is not that of the entries", path=CHECKPOINT)
        unclosed = self._ledger.open_intents
        if unclosed and not allow_open:
            refuse_entry(unclosed[0].index, f"nothing closes this intent ({len(unclosed)} are open)")
        if self._unneeded:
            refuse_entry(min(self._unneeded), "nothing refers to it: it is no part of this export")
        self._evidence.finish()
        for path in self._unsigned:
            msgspec.structs.replace(self._files, policy=self._keys.widen(self._files.policy)).head(path)
        return self._report(len(unclosed))

    def _check_bundle(self, bundle: Tile, tile: Tile) -> list[bytes]:
        """Entries against their hashes, one by one, so that the first bad entry is named."""
        try:
            expected = parse_hash_tile(self._read(tile.path), tile.width)
        except TileInvalid as error:
            raise AuditFailed(f"{tile.path}: {error}", path=tile.path) from error
        index = bundle.index * WIDTH
        hashes: list[bytes] = []
        try:
            for data, digest in zip_longest(split_bundle(self._read(bundle.path)), expected):
                if data is None:
                    refuse_entry(index, f"it is missing from {bundle.path}")
                if digest is None:
                    raise AuditFailed(f"{bundle.path}: more than {bundle.width} entries", path=bundle.path)
                if leaf_hash(data) != digest:
                    refuse_entry(index, f"leaf hash differs from {tile.path.removesuffix(f'.p/{tile.width}')}")
                self._check_entry(index, data, digest)
                hashes.append(digest)
                index += 1
        except TileInvalid as error:
            raise AuditFailed(f"entry {index}: {bundle.path}: {error}", entry=index, path=bundle.path) from error
        return hashes

    def _check_entry(self, index: int, data: bytes, digest: bytes) -> None:
        try:
            leaf = parse_leaf(data)
        except LeafInvalid as error:
            raise AuditFailed(f"entry {index}: {error}", entry=index) from error
        closes = self._ledger.record(digest, leaf)
        if index < self._known:
            return
        self._evidence.check_entry(index, data, leaf, closes)
        self._note_needed(leaf)
        self._keys.take(leaf)
        self._tally.take(leaf)

    def _note_needed(self, leaf: Leaf) -> None:
        """Which carried entries this one needs."""
        for key in leaf.keys or ():
            if key.kctr and key.spki:
                self._unneeded.discard(self._last_uses.get(key.spki, -1))
        if self._unneeded:
            self._unneeded -= named_entries(leaf)

    def _check_passed(self, hashes: list[bytes]) -> None:
        """The earlier checkpoints whose size lies in this bundle."""
        start = self._frontier.size
        while self._earlier and self._earlier[0][1].size <= start + len(hashes):
            path, checkpoint = self._earlier.pop(0)
            if self._frontier.extend(hashes[: checkpoint.size - start]).root != checkpoint.root:
                if path == SINCE and self._edge:
                    raise AuditFailed(
                        f"{', '.join(self._edge)}: not the hashes under the earlier checkpoint", path=self._edge[0]
                    )
                raise AuditFailed(
                    f"{path}: its root hash is not that of the first {checkpoint.size} entries", path=path
                )

    def _report(self, unclosed: int) -> Report:
        return self._tally.report(
            (self._checkpoint, self._head),
            self._evidence,
            self._ledger.uses,
            open=unclosed,
            checkpoints=self._checked_earlier,
            stamps=tuple(self._stamps.values()),
            scope="increment" if self._known else "complete",
            since=self._since,
            completeness=BETWEEN.format(self._since) if self._known else ALL,
        )


def _check_earlier(files: Files, last: Checkpoint, first: int) -> tuple[list[tuple[str, Checkpoint]], list[str]]:
    """The earlier checkpoints, `checkpoints/<size>`, by size; and those that no listed key of the log signed."""
    found: list[tuple[str, Checkpoint]] = []
    unsigned: list[str] = []
    for path in files.paths:
        match = _EARLIER.match(path)
        if match is None:
            continue
        try:
            checkpoint, _ = files.head(path)
        except AuditFailed as error:
            if not isinstance(error.__cause__, NoteUnsigned):
                raise
            unsigned.append(path)
            checkpoint, _ = check_head(path, files.read(path), None)
        if (
            checkpoint.origin != last.origin
            or checkpoint.size != int(match[1])
            or not first <= checkpoint.size <= last.size
        ):
            raise AuditFailed(f"{path}: no earlier checkpoint of {last.origin} with this size", path=path)
        found.append((path, checkpoint))
    return sorted(found, key=lambda item: item[1].size), sorted(unsigned)


def _check_tiles(files: set[str], known: int, size: int) -> set[str]:
    """Take the tiles of a log of this size away from the files. Returns the rest."""
    rest = set(files)
    for tile in increment_tiles(known, size):  # ends at the first missing one, so a size without files costs nothing
        if tile.path not in rest:
            raise AuditFailed(f"{tile.path}: the file is missing from a log of {size} entries", path=tile.path)
        rest.remove(tile.path)
    for path in sorted(rest):
        if path.startswith("tile/"):
            raise AuditFailed(f"{path}: a log of {size} entries has no such file", path=path)
    return rest
