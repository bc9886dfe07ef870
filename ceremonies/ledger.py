"""Journal and store together: entries and the rows they stand for, in one transaction; checkpoints; proofs.

Every method runs on the writer's thread.
"""

from collections.abc import Callable, Iterable, Sequence

import msgspec
from sqlalchemy import Connection, select

from ceremonies.journal import EntryDraft, Growth, Journal, JournalForked, Placed
from ceremonies.logkey import LogKey, LogKeyMissing, Unproven
from ceremonies.milestones import Milestone
from ceremonies.orders import Sealed
from ceremonies.replay import replay_journal
from ceremonies.statements import apply_changes, put_blobs
from ceremonies.store import Change, Store, octets, table_of
from ceremonies.tables import EntryRow
from pki.log.errors import LogError
from pki.log.leaves import Leaf, parse_leaf
from pki.log.merkle import leaf_hash, verify_inclusion
from pki.log.proofs import encode_proof

Decide = Callable[[Connection], Sequence[EntryDraft]]
Follow = Callable[[Sequence[Placed]], tuple[Sequence[Change], Iterable[bytes]]]
Keep = Callable[[bytes], None]


class Ledger:
    """`settled` is false while an intent may be open that nobody works on: then recovery comes before anything else.
    `under_way` is an index before every intent that somebody works on; None when there is none.

    `replay` holds what follows from the entries. Raises JournalForked when they do not lead to the journal's head.
    `keep` stores a signed checkpoint durably, beside the database: the anchor of the next start; `pin` does so where
    who restores the database cannot reach. `milestone`: entries before it are not read now; `began` keeps it.
    """

    def __init__(
        self, store: Store, journal: Journal, keep: Keep = lambda _: None, milestone: Milestone | None = None
    ) -> None:
        self.store = store
        self.journal = journal
        self.replay = replay_journal(store, journal, (milestone.frontier, milestone.replay) if milestone else None)
        self.began = milestone
        self.log_key: LogKey | None = None
        self.keep = keep
        self.pin: Keep = lambda _: None
        self.settled = True
        self.under_way: int | None = None

    @property
    def governed(self) -> bool:
        """Whether genesis is over, by the journal's own entries: a roster and a policy came into force."""
        return bool(self.replay.governing)

    def record(
        self, drafts: Sequence[EntryDraft], changes: Sequence[Change] = (), blobs: Iterable[bytes] = ()
    ) -> Sequence[Placed]:
        """Write entries with their rows and blobs, durably, or nothing. Opens no intent."""
        return self.commit(lambda _: drafts, lambda _: (changes, blobs), settles=self.settled)

    def commit(self, decide: Decide, follow: Follow, *, settles: bool) -> Sequence[Placed]:
        """One durable transaction.

        decide: reads under the write lock and says which entries to write. follow: the rows and blobs that go with
        them, now that they have places. settles: whether every intent is closed afterwards, or under way.
        Returns the entries asked for, in order; none when `decide` gave none. After an error nothing was written, or
        (a commit that failed but persisted) the head in memory is not the head on disk, and every later write refuses.
        """
        growth: Growth
        with self.store.write() as connection:
            drafts = decide(connection)
            if not drafts:
                return ()
            growth = self.journal.compose(drafts)
            settled = self._find_settled(growth.staged.size) if settles else self.journal.settled
            self.journal.write(connection, growth, settled)
            changes, blobs = follow(growth.asked)
            apply_changes(connection, changes)
            put_blobs(connection, blobs, growth.placed[0].seq)
            self.settled = self.settled and settles
        self.journal.accept(growth, settled)
        self.settled = settles
        for placed, draft in zip(growth.asked, drafts, strict=True):
            self.replay.take(placed, draft)
        return growth.asked

    def _find_settled(self, size: int) -> int:
        """The index before which every intent is closed, when none is open but those under way."""
        return size if self.under_way is None else min(size, self.under_way)

    def read_entry(self, seq: int) -> tuple[Placed, Leaf]:
        """An entry, shown to be in the tree that memory holds. Raises JournalForked."""
        row = self.store.find(EntryRow, seq=seq)
        return self._show(seq, octets(row["leaf"]) if row else b"")

    def read_entries(self, seqs: Sequence[int]) -> dict[int, tuple[Placed, Leaf]]:
        """As `read_entry`, for many, by their indexes."""
        table = table_of(EntryRow)
        rows = self.store.rows(select(table.c.seq, table.c.leaf).where(table.c.seq.in_(seqs)))
        leaves = {row["seq"]: octets(row["leaf"]) for row in rows}
        return {seq: self._show(seq, leaves.get(seq, b"")) for seq in seqs}

    def _show(self, seq: int, data: bytes) -> tuple[Placed, Leaf]:
        digest = leaf_hash(data)
        try:
            verify_inclusion(digest, seq, self.journal.size, self.journal.root, self.journal.inclusion_proof(seq))
            return Placed(seq, digest, data), parse_leaf(data)
        except LogError as error:
            raise JournalForked(
                f"entry {seq} is missing, or is not the one that was written", hint="restore the database"
            ) from error

    def recall(self, document: str, seq: int, request: str | None = None) -> Sealed:
        """A document that entry `seq` released, to `request` where that is given, with a proof under the newest
        checkpoint. Raises JournalForked when the entry or the bytes say otherwise.
        """
        placed, leaf = self.read_entry(seq)
        data = self.store.blob(document)
        released = leaf.out and leaf.out.status == "ok" and leaf.out.doc == document
        if data is None or not released or (request is not None and leaf.req != request):
            raise JournalForked(
                f"document {document[:16]} is missing, or entry {seq} did not release it", hint="restore the database"
            )
        return Sealed(data, document, seq, placed.leaf, self.prove(seq), replayed=True)

    def prove(self, seq: int) -> bytes:
        """The tlog-proof of an entry under a checkpoint over everything committed; empty during genesis, before the
        log has a key. Raises LogKeyMissing when there is none afterwards.
        """
        note = self.sign_checkpoint()
        if not note and self.governed:
            raise LogKeyMissing("no journal key is active", hint="restore the database and the journal's token")
        return encode_proof(seq, self.journal.inclusion_proof(seq), note) if note else b""

    def prove_later(self, sealed: Sequence[Sealed]) -> Sequence[Sealed | Unproven]:
        """As `prove`, for documents that were just released: all but the checkpoint's signature, which any thread may
        wait for.
        """
        if self.log_key is None:
            return [msgspec.structs.replace(item, proof=self.prove(item.seq)) for item in sealed]
        head = (self.journal.size, self.journal.root)
        return [Unproven(item, self.journal.inclusion_proof(item.seq), self.log_key, head) for item in sealed]

    def sign_checkpoint(self) -> bytes:
        """The signed checkpoint over everything committed; empty before the log has a key."""
        if self.log_key is None or not self.journal.size:
            return b""
        return self.log_key.sign_head(self.journal.size, self.journal.root)

    def anchor(self) -> None:
        """Store the checkpoint of the committed head, so that no start accepts less; nothing before there is a key."""
        if note := self.sign_checkpoint():
            self.keep(note)
            self.pin(note)
