"""The journal of every key operation: composes entries, writes them with the facts they record, proves them.

It serves the writer thread. Growing has two steps around the database commit: `compose` changes nothing, `accept`
follows the commit. The signer of checkpoints extends the tree in memory; it never signs what the database claims.
"""

import datetime
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec
from sqlalchemy import Connection, select

from ceremonies.errors import KeyroomError
from ceremonies.statements import apply_changes, select_all
from ceremonies.store import Insert, Store, Update, octets, table_of
from ceremonies.surroundings import Surroundings
from ceremonies.tables import EntryRow, HeadRow, TileRow
from pki.log.errors import LogError
from pki.log.leaves import encode_leaf
from pki.log.merkle import Frontier, fold_peaks, leaf_hash, verify_consistency
from pki.log.tree import Staged, Tree

TILE_WIDTH = 256
TILES_KEPT = 64
"""Complete tiles in memory: the proof of an old entry wants eight nodes of each of its tiles."""
MAX_BACKWARD_US = 5_000_000
MAX_JUMP_US = 1_000_000
FIRST_PREV = "0" * 64
RESTORE = "somebody wrote to the database: stop, investigate, restore"

EntryDraft = Mapping[str, Any]


class JournalForked(KeyroomError):
    """The database's journal is not the one that was published, or not the one in memory."""

    code = "journal-forked"


class ClockWentBack(KeyroomError):
    """The wall clock is more than 5 s before the last journal entry. No key is used."""

    code = "clock-went-back"


class Placed(msgspec.Struct, frozen=True):
    """An entry in its place: index, leaf hash, leaf bytes."""

    seq: int
    hash: bytes
    leaf: bytes

    @property
    def ref(self) -> dict[str, Any]:
        """How a later entry refers to this one."""
        return {"h": self.hash.hex(), "i": self.seq}


class Growth(msgspec.Struct, frozen=True):
    """Entries that are composed, not yet committed. The first `notes` of them are the journal's own (clock jumps)."""

    notes: int
    placed: tuple[Placed, ...]
    types: tuple[str, ...]
    staged: Staged
    edges: tuple[tuple[bytes, ...], ...]
    tiles: tuple[tuple[int, int, bytes], ...]
    ts_us: int

    @property
    def asked(self) -> tuple[Placed, ...]:
        """The entries that the caller asked for, in order."""
        return self.placed[self.notes :]


class Journal:
    """The one log of this keyroom. `node` is its id; `origin` the log's name (C2SP tlog-checkpoint)."""

    def __init__(self, store: Store, surroundings: Surroundings, *, origin: str, node: str) -> None:
        self._store = store
        self._surroundings = surroundings
        self.origin = origin
        self._node = {"id": node, "sw": surroundings.software}
        self._edges: tuple[tuple[bytes, ...], ...] = ()
        self._last = FIRST_PREV
        self._ts_us = 0
        self._settled = 0
        self._offset_us: int | None = None
        self._tile = lru_cache(TILES_KEPT)(self._read_tile)
        self._tree = Tree(self._read_node)
        self._load()

    @property
    def size(self) -> int:
        """How many entries are committed."""
        return self._tree.size

    @property
    def root(self) -> bytes:
        """The root hash over all committed entries."""
        return self._tree.root()

    @property
    def frontier(self) -> Frontier:
        """The tree over all committed entries, as its frontier."""
        return self._tree.frontier

    @property
    def settled(self) -> int:
        """Every intent before this index is closed. Recovery looks from here on."""
        return self._settled

    def _load(self) -> None:
        head = self._store.find(HeadRow, id=1)
        if head is None:
            return
        frontier = Frontier.decode(head["frontier"])
        if frontier.size != head["size"]:
            raise JournalForked("the head row contradicts itself", hint=RESTORE)
        self._tree = Tree(self._read_node, frontier)
        self._last, self._ts_us, self._settled = head["last"], head["ts_us"], head["settled"]
        self._edges = self._load_edges(frontier.size)
        self._check_last()

    def _check_last(self) -> None:
        """The head names the last entry, and is not older than it."""
        row = self._store.find(EntryRow, seq=self.size - 1)
        if row is None or leaf_hash(octets(row["leaf"])).hex() != self._last:
            raise JournalForked(f"entry {self.size - 1} is not the one that the head names", hint=RESTORE)
        if format_time(self._ts_us) < msgspec.json.decode(row["leaf"])["ts"]:
            raise JournalForked("the head's time is before that of its last entry", hint=RESTORE)

    def _load_edges(self, size: int) -> tuple[tuple[bytes, ...], ...]:
        """The hashes of each level's incomplete last tile."""
        entry = table_of(EntryRow)
        start = size // TILE_WIDTH * TILE_WIDTH
        rows = self._store.rows(select(entry.c.hash).where(entry.c.seq >= start).order_by(entry.c.seq))
        edges = [tuple(bytes(row["hash"]) for row in rows)]
        count = size // TILE_WIDTH
        level = 0
        while count:
            first = count // TILE_WIDTH * TILE_WIDTH
            edges.append(tuple(_subtree(self._tile(level, number)) for number in range(first, count)))
            count //= TILE_WIDTH
            level += 1
        return tuple(edges)

    def _read_tile(self, level: int, number: int) -> Sequence[bytes]:
        row = self._store.find(TileRow, level=level, number=number)
        if row is None:
            raise JournalForked(f"hash tile {level}/{number} is missing", hint=RESTORE)
        data = bytes(row["hashes"])
        return [data[at : at + 32] for at in range(0, len(data), 32)]

    def _read_node(self, level: int, index: int) -> bytes:
        """The hash of a complete subtree that the tree in memory has let go."""
        tile_level, height = divmod(level, 8)
        number, offset = divmod(index << height, TILE_WIDTH)
        hashes = self._tile_or_edge(tile_level, number)
        return _subtree(hashes[offset : offset + (1 << height)])

    def _tile_or_edge(self, level: int, number: int) -> Sequence[bytes]:
        if number == (self.size >> 8 * level) // TILE_WIDTH:
            return self._edges[level]
        return self._tile(level, number)

    def compose(self, drafts: Sequence[EntryDraft]) -> Growth:
        """Give entries their places. Raises ClockWentBack when the wall clock is over 5 s behind the last entry."""
        now_us, mono_us = self._surroundings.now_us(), self._surroundings.mono_us()
        if now_us < self._ts_us - MAX_BACKWARD_US:
            raise ClockWentBack(
                f"the clock says {format_time(now_us)}, the last entry is of {format_time(self._ts_us)}",
                hint="set the clock; keys stay unused until it is right",
            )
        jump = 0 if self._offset_us is None else now_us - mono_us - self._offset_us
        notes = [{"type": "probe", "op": {"what": {"clock_jump_us": jump}}}] if abs(jump) > MAX_JUMP_US else []
        return self._place([*notes, *drafts], len(notes), now_us, mono_us)

    def _place(self, drafts: Sequence[EntryDraft], notes: int, now_us: int, mono_us: int) -> Growth:
        common = {
            "v": 1,
            "log": self.origin,
            "ts": format_time(now_us),
            "mono": {"boot": self._surroundings.boot, "us": mono_us},
            "node": self._node,
        }
        prev, seq = self._last, self.size
        placed: list[Placed] = []
        for draft, identifier in zip(drafts, self._surroundings.identifiers(now_us, len(drafts)), strict=True):
            leaf = encode_leaf({**common, "id": identifier, "prev": prev, "seq": seq, **draft})
            digest = leaf_hash(leaf)
            placed.append(Placed(seq, digest, leaf))
            prev, seq = digest.hex(), seq + 1
        staged = self._tree.stage([entry.hash for entry in placed])
        edges, tiles = self._grow_edges(staged)
        types = tuple(draft["type"] for draft in drafts)
        return Growth(notes, tuple(placed), types, staged, edges, tiles, max(now_us, self._ts_us))

    def _grow_edges(self, staged: Staged) -> tuple[tuple[tuple[bytes, ...], ...], tuple[tuple[int, int, bytes], ...]]:
        edges = list(self._edges)
        tiles: list[tuple[int, int, bytes]] = []
        for run in staged.runs:
            if run.level % 8:
                continue
            level = run.level // 8
            while len(edges) <= level:
                edges.append(())
            number = run.start // TILE_WIDTH
            hashes = edges[level] + run.hashes
            while len(hashes) >= TILE_WIDTH:
                tiles.append((level, number, b"".join(hashes[:TILE_WIDTH])))
                hashes, number = hashes[TILE_WIDTH:], number + 1
            edges[level] = hashes
        return tuple(edges), tuple(tiles)

    def write(self, connection: Connection, growth: Growth, settled: int) -> None:
        """Write entries, full tiles and head in the caller's transaction.

        settled: every intent before this index is closed by then. Raises JournalForked when the head in the
        database is not the one in memory: somebody else wrote.
        """
        entries = [
            Insert(EntryRow, {"seq": entry.seq, "type": kind, "leaf": entry.leaf, "hash": entry.hash})
            for entry, kind in zip(growth.placed, growth.types, strict=True)
        ]
        tiles = [Insert(TileRow, {"level": lv, "number": no, "hashes": data}) for lv, no, data in growth.tiles]
        head = {
            "size": growth.staged.size,
            "frontier": growth.staged.frontier.encode(),
            "last": growth.placed[-1].hash.hex(),
            "ts_us": growth.ts_us,
            "settled": settled,
        }
        if self.size == 0:
            apply_changes(connection, [*entries, *tiles, Insert(HeadRow, {"id": 1, **head})])
            return
        self._check_head(connection)
        apply_changes(connection, [*entries, *tiles, Update(HeadRow, {"id": 1}, head)])

    def _check_head(self, connection: Connection) -> None:
        rows = select_all(connection, HeadRow, ("size", "last", "frontier", "ts_us", "settled"))
        ours = (self.size, self._last, self._tree.frontier.encode(), self._ts_us, self._settled)
        if rows != [ours]:
            raise JournalForked("the journal's head was changed behind the keyroom", hint=RESTORE)

    def accept(self, growth: Growth, settled: int) -> None:
        """Follow a commit: the composed entries are now the journal."""
        self._tree.accept(growth.staged)
        self._edges = growth.edges
        self._last = growth.placed[-1].hash.hex()
        self._ts_us = growth.ts_us
        self._offset_us = self._surroundings.now_us() - self._surroundings.mono_us()
        self._settled = settled

    def inclusion_proof(self, seq: int, size: int | None = None) -> tuple[bytes, ...]:
        """The audit path of an entry in the tree as committed, or in that of its first `size` entries."""
        return self._tree.inclusion_proof(seq, self.size if size is None else size)

    def consistency_proof(self, old: int, new: int) -> tuple[bytes, ...]:
        """The proof that the journal of `new` entries extends that of `old`."""
        return self._tree.consistency_proof(old, new)

    def check_extends(self, size: int, root: bytes, which: str = "the published one") -> None:
        """Check that the journal still holds what was published at `size`. Raises JournalForked, naming `which`."""
        try:
            verify_consistency(size, root, self.size, self.root, self._tree.consistency_proof(size, self.size))
        except LogError as error:
            raise JournalForked(
                f"the journal of {self.size} entries (root {self.root.hex()[:16]}) does not extend {which} of {size} "
                f"(root {root.hex()[:16]})",
                hint="an older database was restored, or entries were changed: stop, investigate, restore the newest; "
                "when it is lost for good: docs/runbooks/log-recovered.md",
            ) from error


def _subtree(hashes: Sequence[bytes]) -> bytes:
    """The root of a complete subtree over 2**k hashes."""
    return Frontier().extend(hashes).root if len(hashes) > 1 else fold_peaks(hashes)


def format_time(us: int) -> str:
    """Microseconds since 1970 as RFC 3339 UTC with six digits."""
    moment = datetime.datetime.fromtimestamp(us // 1_000_000, datetime.UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{us % 1_000_000:06d}Z"
