"""Offline verification of an exported journal, with public keys only.

Steps, each naming the first bad thing it meets:
1. the checkpoint parses; with a policy, a listed log signed it and the witnesses' quorum cosigned it;
2. the files are exactly those of a log of that size: none missing, none surplus (c2sp.org/tlog-tiles);
3. each entry hashes to its place in tile/0, and is a leaf in canonical form (`pki.log.leaves`);
4. seq, prev, kctr, approvals and intents fit together (`pki.log.ledger`);
5. drafts, signed bytes, public keys and signatures bear the entries out (`pki.log.evidence`);
6. each hash tile, each earlier checkpoint and the root follow from the entries;
7. no intent is open, and no blob is there that no entry names.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import zip_longest
from typing import Literal

import msgspec

from pki.errors import PkiError
from pki.log.checkpoints import Checkpoint, parse_checkpoint
from pki.log.errors import AuditFailed, LeafInvalid, TileInvalid
from pki.log.evidence import Evidence
from pki.log.leaves import parse_leaf
from pki.log.ledger import Ledger, refuse_entry
from pki.log.merkle import Frontier, NodeRun, grow, leaf_hash
from pki.log.notes import parse_note
from pki.log.policy import TrustPolicy, VerifiedCheckpoint, verify_checkpoint
from pki.log.tiles import ENTRIES, WIDTH, Tile, list_tiles, parse_hash_tile, split_bundle

CHECKPOINT = "checkpoint"
DOCUMENTS = frozenset(["leaf.schema.json", "trust.cddl"])

_EARLIER = re.compile(r"checkpoints/(0|[1-9][0-9]{0,18})\Z", re.ASCII)


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict on an export that has no fault.

    verdict: `authenticated`, or `consistent-not-authenticated` when there was no policy.
    root: lowercase hex. signers: verifier keys of the log that signed. witnesses: names, as in the policy.
    first, last: times of the first and the last entry, empty in an empty journal.
    types: number of entries by type. open: intents that nothing has closed yet.
    documents_absent: documents that entries name and the export does not hold, because they are large.
    checkpoints: earlier checkpoints that the entries bear out.
    """

    verdict: Literal["authenticated", "consistent-not-authenticated"]
    origin: str
    size: int
    root: str
    signers: tuple[str, ...]
    witnesses: tuple[str, ...]
    first: str
    last: str
    types: dict[str, int]
    open: int
    signatures: int
    blobs: int
    documents: int
    documents_absent: int
    checkpoints: int


def audit_journal(
    read: Callable[[str], bytes],
    paths: Iterable[str],
    policy: TrustPolicy | None,
    *,
    allow_open: bool = False,
) -> Report:
    """Verify an export: `paths` are all its files, relative with `/`, and `read` gives the content of one.

    Raises AuditFailed, which names the first bad entry or file. `allow_open` accepts intents that are not closed yet,
    as in a copy of a running journal.
    """
    audit = _Audit(read, paths, policy)
    audit.check_entries()
    return audit.finish(allow_open=allow_open)


class _Audit:
    """One run over one export. Memory grows with keys, open intents and files; an entry costs one byte."""

    def __init__(self, read: Callable[[str], bytes], paths: Iterable[str], policy: TrustPolicy | None) -> None:
        self._read = read
        files = set(paths)
        if CHECKPOINT not in files:
            raise AuditFailed("checkpoint: the file is missing", path=CHECKPOINT)
        self._checkpoint, self._head = _check_head(CHECKPOINT, read(CHECKPOINT), policy)
        self._earlier = _check_earlier(read, files, policy, self._checkpoint)
        rest = files - {CHECKPOINT} - DOCUMENTS - {path for path, _ in self._earlier}
        self._checked_earlier = len(self._earlier)
        self._evidence = Evidence(read, _check_tiles(rest, self._checkpoint.size))
        self._ledger = Ledger(self._checkpoint.origin)
        self._frontier = Frontier()
        self._rows: dict[int, _Row] = {}
        self._types: Counter[str] = Counter()
        self._times = ("", "")

    def check_entries(self) -> None:
        """Steps 3 to 5 for all entries, bundle by bundle, and step 6 as far as they reach."""
        size = self._checkpoint.size
        for index in range(-(-size // WIDTH)):
            width = min(WIDTH, size - index * WIDTH)
            hashes = self._check_bundle(Tile(ENTRIES, index, width), Tile(0, index, width))
            self._check_passed(hashes)
            self._frontier, runs = grow(self._frontier, hashes)
            for run in runs:
                if run.level and run.level % 8 == 0:
                    self._rows.setdefault(run.level // 8, _Row(run.level // 8)).add(run, self._read)

    def finish(self, *, allow_open: bool) -> Report:
        """The rest of step 6, and step 7."""
        for row in self._rows.values():
            row.check_last(self._read)
        if self._frontier.root != self._checkpoint.root:
            raise AuditFailed("checkpoint: its root hash is not that of the entries", path=CHECKPOINT)
        unclosed = self._ledger.open_intents
        if unclosed and not allow_open:
            refuse_entry(unclosed[0].index, f"nothing closes this intent ({len(unclosed)} are open)")
        self._evidence.finish()
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
        self._evidence.check_entry(index, data, leaf, closes)
        self._types[leaf.type] += 1
        self._times = (self._times[0] or leaf.ts, leaf.ts)

    def _check_passed(self, hashes: list[bytes]) -> None:
        """The earlier checkpoints whose size lies in this bundle."""
        start = self._frontier.size
        while self._earlier and self._earlier[0][1].size <= start + len(hashes):
            path, checkpoint = self._earlier.pop(0)
            if self._frontier.extend(hashes[: checkpoint.size - start]).root != checkpoint.root:
                raise AuditFailed(
                    f"{path}: its root hash is not that of the first {checkpoint.size} entries", path=path
                )

    def _report(self, unclosed: int) -> Report:
        head, evidence = self._head, self._evidence
        return Report(
            verdict="authenticated" if head else "consistent-not-authenticated",
            origin=self._checkpoint.origin,
            size=self._checkpoint.size,
            root=self._checkpoint.root.hex(),
            signers=tuple(key.encode() for key in head.signers) if head else (),
            witnesses=tuple(name for name, _ in head.witnesses) if head else (),
            first=self._times[0],
            last=self._times[1],
            types=dict(sorted(self._types.items())),
            open=unclosed,
            signatures=evidence.signatures,
            blobs=evidence.count,
            documents=evidence.documents,
            documents_absent=evidence.documents_absent,
            checkpoints=self._checked_earlier,
        )


class _Row:
    """One level of hash tiles above the leaf hashes, compared as the entries complete their hashes."""

    def __init__(self, level: int) -> None:
        self._level = level
        self._index = 0
        self._hashes: list[bytes] = []

    def add(self, run: NodeRun, read: Callable[[str], bytes]) -> None:
        """Take the next computed hashes; they come one bundle at a time, so at most one tile becomes complete."""
        self._hashes += run.hashes
        if len(self._hashes) == WIDTH:
            self.check_last(read)
            self._index, self._hashes = self._index + 1, []

    def check_last(self, read: Callable[[str], bytes]) -> None:
        """Compare the tile that the collected hashes fill."""
        if not self._hashes:
            return
        tile = Tile(self._level, self._index, len(self._hashes))
        try:
            found = parse_hash_tile(read(tile.path), tile.width)
        except TileInvalid as error:
            raise AuditFailed(f"{tile.path}: {error}", path=tile.path) from error
        for position, (computed, stored) in enumerate(zip(self._hashes, found, strict=True)):
            if computed != stored:
                below = Tile(self._level - 1, self._index * WIDTH + position).path
                raise AuditFailed(f"{tile.path}: hash {position} is not that of {below}", path=tile.path)


def _check_head(path: str, note: bytes, policy: TrustPolicy | None) -> tuple[Checkpoint, VerifiedCheckpoint | None]:
    try:
        if policy is None:
            return parse_checkpoint(parse_note(note).text), None
        head = verify_checkpoint(policy, note)
    except PkiError as error:
        raise AuditFailed(f"{path}: {error}", hint=error.hint, path=path) from error
    return head.checkpoint, head


def _check_earlier(
    read: Callable[[str], bytes], files: set[str], policy: TrustPolicy | None, last: Checkpoint
) -> list[tuple[str, Checkpoint]]:
    """The earlier checkpoints, `checkpoints/<size>`, by size."""
    found: list[tuple[str, Checkpoint]] = []
    for path in files:
        match = _EARLIER.match(path)
        if match is None:
            continue
        checkpoint, _ = _check_head(path, read(path), policy)
        if checkpoint.origin != last.origin or checkpoint.size != int(match[1]) or checkpoint.size > last.size:
            raise AuditFailed(f"{path}: no earlier checkpoint of {last.origin} with this size", path=path)
        found.append((path, checkpoint))
    return sorted(found, key=lambda item: item[1].size)


def _check_tiles(files: set[str], size: int) -> set[str]:
    """Take the tiles of a log of this size away from the files. Returns the rest."""
    rest = set(files)
    for tile in list_tiles(size):  # ends at the first missing one, so a size without files costs nothing
        if tile.path not in rest:
            raise AuditFailed(f"{tile.path}: the file is missing from a log of {size} entries", path=tile.path)
        rest.remove(tile.path)
    for path in sorted(rest):
        if path.startswith("tile/"):
            raise AuditFailed(f"{path}: a log of {size} entries has no such file", path=path)
    return rest
