"""What an increment has that a complete export has not: the consistency proof, blobs by entry, carried entries."""

from collections.abc import Iterator

from ceremonies.commands import ExportJournal
from ceremonies.holdings import PAGE, find_blobs, read_entries, walk_entries, walk_leaves
from ceremonies.proving import Prover
from ceremonies.store import Store
from pki.log.parties import named_entries
from pki.log.proven import proven_paths
from pki.log.tiles import increment_start

Files = Iterator[tuple[str, bytes, str]]
"""Path, bytes, and the cursor behind it; without a cursor the part does not end here, without a path it may."""


def list_fresh(store: Store, ask: ExportJournal, start: int) -> Files:
    """The blobs of the new entries from `start` on. A blob that several pages name comes once in each part."""
    sent: set[str] = set()
    for first in range(start, ask.size, PAGE):
        stop = min(ask.size, first + PAGE)
        for path, data in find_blobs(store, list(walk_entries(store, first, stop))).items():
            if path not in sent:
                sent.add(path)
                yield path, data, ""
        yield "", b"", f"fresh/{stop}"


def list_carried(store: Store, ask: ExportJournal, note: bytes, start: int) -> Files:
    """Earlier entries that the new ones need, from index `start` on, with proofs; blobs of intents that they close."""
    first = increment_start(ask.since)
    carried, closed = find_carried(store, ask)
    prover = Prover(store, ask.size, note)
    for index in sorted(item for item in carried | closed if item >= start):
        entry = read_entries(store, [index])
        if index < first:
            entry_path, proof_path = proven_paths(index)
            yield entry_path, entry[0][1], ""
            yield proof_path, prover.prove(index), ""
        for path, data in find_blobs(store, entry).items() if index in closed else ():
            yield path, data, ""
        yield "", b"", f"carried/{index + 1}"


def find_carried(store: Store, ask: ExportJournal) -> tuple[set[int], set[int]]:
    """The entries before the increment's first that new ones refer to, or that used a key of theirs last; and the
    intents that new entries close and that are not new themselves.
    """
    first = increment_start(ask.since)
    carried: set[int] = set()
    closed: set[int] = set()
    keys: dict[str, int] = {}
    for seq, leaf in walk_leaves(store, first, ask.size):
        uses = [(key.spki, key.kctr) for key in leaf.keys or () if key.spki and key.kctr]
        for spki, kctr in uses:
            keys.setdefault(spki, kctr if seq >= ask.since else 0)  # 0: its last use is among the files
        if seq >= ask.since:
            carried |= {index for index in named_entries(leaf) if index < first}
            closed |= {leaf.ref.i} if leaf.ref and leaf.ref.i < ask.since else set()
    wanted = {spki for spki, kctr in keys.items() if kctr > 1}
    return carried | _last_uses(store, wanted, first), closed


def _last_uses(store: Store, wanted: set[str], before: int) -> set[int]:
    """The last entry before `before` that used each of these keys, page by page backwards."""
    found: set[int] = set()
    while wanted and before > 0:
        start = max(0, before - 4 * PAGE)
        for seq, leaf in reversed(list(walk_leaves(store, start, before))):
            used = {key.spki for key in leaf.keys or () if key.spki and key.kctr} & wanted
            if used:
                found.add(seq)
                wanted = wanted - used
        before = start
    return found
