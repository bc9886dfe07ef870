"""A growing tree for a busy journal: frontier, a bounded memory of recent nodes, and a reader for older ones.

Growing has two steps, because a database commit stands between them: `stage` computes and changes nothing, `accept`
makes it so. A staged growth whose commit failed is dropped, and the tree is as before.
"""

from collections.abc import Callable, Sequence

import msgspec

from pki.log.errors import NodeInvalid, StageStale
from pki.log.merkle import HASH_SIZE, Frontier, NodeRun, fold_peaks, grow

ReadNode = Callable[[int, int], bytes]

RECENT_LEAVES = 16_384


class Staged(msgspec.Struct, frozen=True):
    """The result of an append that has not happened yet.

    base: the frontier it starts from. frontier: the frontier it leads to (`frontier.encode()` is the database row).
    runs: every subtree that becomes complete, the leaves among them, as runs of one level.
    """

    base: Frontier
    frontier: Frontier
    runs: tuple[NodeRun, ...]
    root: bytes

    @property
    def size(self) -> int:
        """The number of leaves after the append."""
        return self.frontier.size


class Tree:
    """An append-only tree. `read_node(level, index)` gives the hash of a complete subtree that memory has let go.

    It serves one thread. Memory holds about 2 * `recent` nodes (some 130 bytes each).
    """

    def __init__(self, read_node: ReadNode, frontier: Frontier | None = None, *, recent: int = RECENT_LEAVES) -> None:
        self._read_node = read_node
        self._recent = recent
        self._frontier = Frontier()
        self._levels: list[dict[int, bytes]] = [{} for _ in range(64)]
        self._tails: tuple[int, dict[int, bytes]] = (0, {})
        self._adopt(frontier or Frontier())

    @property
    def size(self) -> int:
        """The number of leaves."""
        return self._frontier.size

    @property
    def frontier(self) -> Frontier:
        """The frontier: what a restart needs."""
        return self._frontier

    def root(self) -> bytes:
        """The root hash."""
        return self._frontier.root

    def stage(self, leaf_hashes: Sequence[bytes]) -> Staged:
        """Compute what appending gives, without appending."""
        frontier, runs = grow(self._frontier, leaf_hashes)
        return Staged(self._frontier, frontier, runs, frontier.root)

    def accept(self, staged: Staged) -> None:
        """Make a staged growth real. Raises StageStale when the tree is not the one that it was computed for."""
        if staged.base != self._frontier:
            raise StageStale(
                f"growth from {staged.base.size} to {staged.size} does not fit a tree of {self.size}",
                hint="drop it and stage the leaves again",
            )
        for run in staged.runs:
            self._remember(run)
        self._adopt(staged.frontier)

    def inclusion_proof(self, index: int, size: int) -> tuple[bytes, ...]:
        """The audit path of entry `index` in the tree of `size` leaves (RFC 6962 section 2.1.1), from the leaf up.

        Raises NodeInvalid when there is no such entry or tree, or a node cannot be read.
        """
        if not 0 <= index < size <= self.size:
            raise NodeInvalid(f"no proof for entry {index} in a tree of {size}: the journal has {self.size}")
        proof: list[bytes] = []
        levels = self._levels
        level, last = 0, size - 1
        while last:
            sibling = index ^ 1
            # Complete, unless it is the last one of its level and leaves are lacking on its right.
            if sibling < last or (sibling == last and (last + 1) << level == size):
                digest = levels[level].get(sibling)
                proof.append(digest if digest is not None else self._read(level, sibling))
            elif sibling == last:
                proof.append(self._tail(size, level))
            index >>= 1
            last >>= 1
            level += 1
        return tuple(proof)

    def consistency_proof(self, old: int, new: int) -> tuple[bytes, ...]:
        """The proof that the tree of `new` leaves extends that of `old` (RFC 6962 section 2.1.2).

        It is empty from the empty tree and between equal sizes. Raises NodeInvalid when there is no such tree.
        """
        if not 0 <= old <= new <= self.size:
            raise NodeInvalid(f"no proof from size {old} to {new}: the journal has {self.size}")
        if old in (0, new):
            return ()
        proof: list[bytes] = []
        low, high, whole = 0, new, True  # SUBPROOF(old - low, D[low:high], whole)
        while high != old:
            middle = low + (1 << (high - low - 1).bit_length() - 1)
            if old <= middle:
                proof.append(self._range(middle, high))
                high = middle
            else:
                proof.append(self._range(low, middle))
                low, whole = middle, False
        if not whole:
            proof.append(self._range(low, high))
        return tuple(reversed(proof))

    def _range(self, low: int, high: int) -> bytes:
        """The hash of the leaves [low, high), where `low` is a multiple of the largest power of two that fits in."""
        peaks: list[bytes] = []
        while low < high:
            level = (high - low).bit_length() - 1
            peaks.append(self._node(level, low >> level))
            low += 1 << level
        return fold_peaks(peaks)

    def _tail(self, size: int, level: int) -> bytes:
        """The hash of the incomplete last subtree of `level` in the tree of `size`; kept, as proofs come in batches."""
        if self._tails[0] != size:
            self._tails = (size, {})
        tails = self._tails[1]
        if level not in tails:
            tails[level] = self._range(size >> level << level, size)
        return tails[level]

    def _node(self, level: int, index: int) -> bytes:
        digest = self._levels[level].get(index)
        return digest if digest is not None else self._read(level, index)

    def _read(self, level: int, index: int) -> bytes:
        digest = self._read_node(level, index)
        if len(digest) != HASH_SIZE:
            raise NodeInvalid(f"node {index} of level {level} has {len(digest)} bytes, 32 are expected")
        return digest

    def _remember(self, run: NodeRun) -> None:
        """Keep the nodes of a run and let go those that are older than the window."""
        # Four more than the window: neighbours and the frontier of the recent leaves on levels above it.
        kept = (self._recent >> run.level) + 4
        level = self._levels[run.level]
        end = run.start + len(run.hashes)
        first = max(run.start, end - kept)
        level.update(zip(range(first, end), run.hashes[first - run.start :], strict=True))
        for index in range(max(0, run.start - kept), end - kept):
            level.pop(index, None)

    def _adopt(self, frontier: Frontier) -> None:
        self._frontier = frontier
        size, levels = frontier.size, self._levels
        peaks = reversed(frontier.hashes)
        for level in range(size.bit_length()):
            if size >> level & 1:
                levels[level][(size >> level) - 1] = next(peaks)
