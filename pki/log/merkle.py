"""The tree of RFC 6962 section 2.1 (RFC 9162 section 2.1): hashes, frontier, and verification of its proofs.

A node is named by (level, index): it is the hash of the leaves [index * 2**level, (index + 1) * 2**level). A *frontier*
is the roots of the largest complete subtrees, left to right: all that root and append need. Hashes are 32 raw bytes.
"""

import hashlib
from collections.abc import Sequence

import msgspec

from pki.log.errors import ConsistencyInvalid, FrontierInvalid, InclusionInvalid

HASH_SIZE = 32
MAX_SIZE = 2**63 - 1
EMPTY_ROOT = hashlib.sha256(b"").digest()

_sha256 = hashlib.sha256


def leaf_hash(data: bytes) -> bytes:
    """The hash of a leaf: SHA-256(0x00 || data)."""
    return _sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node: SHA-256(0x01 || left || right)."""
    return _sha256(b"\x01" + left + right).digest()


def fold_peaks(peaks: Sequence[bytes]) -> bytes:
    """The hash over complete subtrees of falling size, left to right. Of none, it is the hash of the empty tree."""
    if not peaks:
        return EMPTY_ROOT
    result = peaks[-1]
    for peak in reversed(peaks[:-1]):
        result = _sha256(b"\x01" + peak + result).digest()
    return result


class Frontier(msgspec.Struct, frozen=True):
    """The number of leaves and the roots of the complete subtrees, largest first (at most 63).

    Raises FrontierInvalid at construction when the number of hashes is not that of the one-bits of `size`.
    """

    size: int = 0
    hashes: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.size <= MAX_SIZE:
            raise FrontierInvalid(f"a tree cannot have {self.size} leaves")
        if len(self.hashes) != self.size.bit_count() or any(len(item) != HASH_SIZE for item in self.hashes):
            raise FrontierInvalid(f"the frontier of {self.size} leaves is {self.size.bit_count()} hashes of 32 bytes")

    @property
    def root(self) -> bytes:
        """The root hash of the tree."""
        return fold_peaks(self.hashes)

    def extend(self, leaf_hashes: Sequence[bytes]) -> "Frontier":
        """The frontier after these leaf hashes were appended."""
        return grow(self, leaf_hashes)[0]

    def encode(self) -> bytes:
        """The bytes for a database row: size as uint64 big-endian, then the hashes."""
        return self.size.to_bytes(8, "big") + b"".join(self.hashes)

    @classmethod
    def decode(cls, data: bytes) -> "Frontier":
        """Read what `encode` wrote. Raises FrontierInvalid."""
        if len(data) < 8 or len(data) % HASH_SIZE != 8 or len(data) > 8 + 63 * HASH_SIZE:
            raise FrontierInvalid(f"{len(data)} bytes are no frontier", hint="restore the journal's head")
        hashes = tuple(data[at : at + HASH_SIZE] for at in range(8, len(data), HASH_SIZE))
        return cls(int.from_bytes(data[:8], "big"), hashes)


class NodeRun(msgspec.Struct, frozen=True):
    """Nodes of one level with consecutive indices, from `start` on."""

    level: int
    start: int
    hashes: tuple[bytes, ...]


def grow(frontier: Frontier, leaf_hashes: Sequence[bytes]) -> tuple[Frontier, tuple[NodeRun, ...]]:
    """Append leaf hashes: the new frontier, and every subtree that became complete, leaves included, level by level."""
    if any(len(item) != HASH_SIZE for item in leaf_hashes):
        raise FrontierInvalid("a leaf hash has 32 bytes")
    old, new = frontier.size, frontier.size + len(leaf_hashes)
    peaks = list(frontier.hashes)
    runs: list[NodeRun] = []
    kept: list[bytes] = []
    run = tuple(leaf_hashes)
    level = 0
    while run or peaks:
        if run:
            runs.append(NodeRun(level, old >> level, run))
        row = (peaks.pop(), *run) if old >> level & 1 else run
        if new >> level & 1:
            kept.append(row[-1])
        run = tuple(
            [_sha256(b"\x01" + left + right).digest() for left, right in zip(row[::2], row[1::2], strict=False)]
        )
        level += 1
    return Frontier(new, tuple(reversed(kept))), tuple(runs)


def verify_inclusion(leaf: bytes, index: int, size: int, root: bytes, proof: Sequence[bytes]) -> None:
    """Check that the leaf hash `leaf` stands at `index` in the tree (RFC 9162 section 2.1.3.2).

    Raises InclusionInvalid.
    """
    if not 0 <= index < size <= MAX_SIZE:  # step 1
        raise InclusionInvalid(f"entry {index} is not in a tree of {size}")
    fn, sn, result = index, size - 1, leaf  # steps 2 and 3
    for item in proof:  # step 4
        if sn == 0 or len(item) != HASH_SIZE:
            raise InclusionInvalid(f"entry {index}: the proof is too long, or has a hash that is not 32 bytes")
        if fn & 1 or fn == sn:
            result = node_hash(item, result)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            result = node_hash(result, item)
        fn, sn = fn >> 1, sn >> 1
    if sn != 0 or result != root:  # step 5
        raise InclusionInvalid(f"entry {index}: the proof does not lead to the root of the tree of {size}")


def verify_consistency(old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Check that the tree of size `new` extends the tree of size `old` (RFC 9162 section 2.1.4.2).

    From the empty tree, and between equal trees, the proof is empty. Raises ConsistencyInvalid.
    """
    failure = ConsistencyInvalid(f"the tree of {new} is not shown to extend the tree of {old}")
    if not 0 <= old <= new <= MAX_SIZE or any(len(item) != HASH_SIZE for item in proof):
        raise failure
    if old in (0, new):
        if proof or old_root != (new_root if old == new else EMPTY_ROOT):
            raise failure
        return
    path = [old_root, *proof] if old & (old - 1) == 0 else list(proof)  # step 2
    fn, sn = old - 1, new - 1  # step 3
    while fn & 1:  # step 4
        fn, sn = fn >> 1, sn >> 1
    if not path:  # step 1
        raise failure
    fr = sr = path[0]  # step 5
    for item in path[1:]:  # step 6
        if sn == 0:
            raise failure
        if fn & 1 or fn == sn:
            fr, sr = node_hash(item, fr), node_hash(item, sr)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = node_hash(sr, item)
        fn, sn = fn >> 1, sn >> 1
    if sn != 0 or fr != old_root or sr != new_root:  # step 7
        raise failure
