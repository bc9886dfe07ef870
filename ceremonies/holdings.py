"""Entries and the blobs that they name, as the database has them, for exports of less than everything."""

from collections.abc import Iterator, Sequence

import msgspec
from sqlalchemy import select

from ceremonies.store import Store, digest, octets, read_parts, table_of
from ceremonies.tables import BlobRow, EntryRow, EvidenceRow
from pki.log.evidence import blob_path, named_digests
from pki.log.leaves import Leaf

PAGE = 256

Entry = tuple[int, bytes]

_LEAF = msgspec.json.Decoder(Leaf)


def walk_entries(store: Store, start: int, stop: int) -> Iterator[Entry]:
    """The entries from `start` on, before `stop`, in order: index and leaf bytes."""
    column = table_of(EntryRow).c
    for first in range(start, stop, 4 * PAGE):
        query = select(column.seq, column.leaf).where(column.seq >= first, column.seq < min(stop, first + 4 * PAGE))
        for row in store.rows(query.order_by(column.seq)):
            yield row["seq"], octets(row["leaf"])


def walk_leaves(store: Store, start: int, stop: int) -> Iterator[tuple[int, Leaf]]:
    """The same, decoded."""
    for seq, data in walk_entries(store, start, stop):
        yield seq, _LEAF.decode(data)


def read_entries(store: Store, indexes: Sequence[int]) -> Sequence[Entry]:
    """These entries, at most a page of them, in order."""
    column = table_of(EntryRow).c
    rows = store.rows(select(column.seq, column.leaf).where(column.seq.in_(indexes)).order_by(column.seq))
    return [(row["seq"], octets(row["leaf"])) for row in rows]


def find_blobs(store: Store, page: Sequence[Entry], *, policies: bool = True) -> dict[str, bytes]:
    """The blobs of a page of entries by their path: those that they name, and those that their statements name.

    policies: with the policies that were in force, which are nobody's in particular.
    """
    leaves = [(data, _LEAF.decode(data)) for _, data in page]
    names: set[str] = set()
    drafts: set[str] = set()
    for data, leaf in leaves:
        operation = leaf.op or None
        policy = operation.policy if operation and operation.policy and not policies else ""
        names |= named_digests(data) - {policy}
        drafts |= {operation.digest} if operation and operation.digest else set()
    found = _evidence(store, [seq for seq, _ in page]) | _blobs(store, names)
    inner = {name for draft in drafts & found.keys() for name in named_digests(found[draft])}
    found |= _blobs(store, inner - found.keys())
    return {blob_path(name): data for name, data in sorted(found.items())}


def _evidence(store: Store, indexes: Sequence[int]) -> dict[str, bytes]:
    column = table_of(EvidenceRow).c
    rows = store.rows(select(column.parts).where(column.seq.in_(indexes)))
    return {digest(data): data for row in rows for data in read_parts(row["parts"])}


def _blobs(store: Store, names: set[str]) -> dict[str, bytes]:
    column, wanted = table_of(BlobRow).c, sorted(names)
    found: dict[str, bytes] = {}
    for at in range(0, len(wanted), PAGE):
        rows = store.rows(select(column.sha256, column.data).where(column.sha256.in_(wanted[at : at + PAGE])))
        found |= {row["sha256"]: octets(row["data"]) for row in rows}
    return found
