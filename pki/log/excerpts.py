"""An excerpt: the entries of one party, each with its proof, under one checkpoint, and the blobs that they name.

Files: `checkpoint`, `party.json`, `proven/<index>.json` and `.tlog-proof`, `blob/`, and the documents that explain it.
Proofs show that entries are there, never that there are no others; the uses of a key are counted, so that an excerpt of
a key shows them all up to the last one in it.
"""

import hashlib
from collections.abc import Iterator

from pki.log.checkpoints import Checkpoint
from pki.log.errors import AuditFailed
from pki.log.evidence import Evidence, blob_path
from pki.log.files import CHECKPOINT, DOCUMENTS, Files
from pki.log.leaves import Leaf, parse_leaf
from pki.log.ledger import SparseLedger, refuse_entry
from pki.log.merkle import leaf_hash
from pki.log.parties import PARTY, Party, choose_entries, parse_party
from pki.log.proven import proven_paths, read_proven, split_proven
from pki.log.reports import Report, Tally

ONE_KEY = "uses 1 to {} of this key without a gap; that there is none after them is not shown"
NOT_SHOWN = "each entry stands in the journal; that there is no other one about the {} is not shown"


def audit_excerpt(files: Files, *, allow_open: bool = False) -> Report:
    """Verify an excerpt: each entry's proof, whether it belongs to the party, what it owes the others, the blobs.

    Raises AuditFailed, naming the entry or the file.
    """
    return _Excerpt(files).check(allow_open=allow_open)


class _Excerpt:
    """One run over one excerpt."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._checkpoint, self._head = files.head()
        files.check_documents()
        self._party = parse_party(files.read(PARTY), self._checkpoint.origin, self._checkpoint.size)
        self._indexes, rest = split_proven(files.paths)
        if not self._indexes:
            raise AuditFailed(f"{PARTY}: there is no entry of the {self._party}", path=PARTY)
        self._evidence = Evidence(files.read, rest - {CHECKPOINT, PARTY} - DOCUMENTS, files.blobs)
        self._ledger = SparseLedger(self._checkpoint.origin, _counted(self._party))
        self._digests: dict[int, bytes] = {}
        self._tally = Tally()

    def check(self, *, allow_open: bool) -> Report:
        note = self._files.read(CHECKPOINT)
        for index in self._indexes:
            self._check_entry(index, note, self._checkpoint)
        self._check_choice()
        unclosed = self._ledger.open_intents
        if unclosed and not allow_open:
            refuse_entry(unclosed[0].index, f"nothing closes this intent ({len(unclosed)} are open)")
        self._evidence.finish()
        return self._report(len(unclosed))

    def _check_entry(self, index: int, note: bytes, head: Checkpoint) -> None:
        item = read_proven(self._files.read, index, note, head)
        self._digests[index] = item.digest
        closes = self._ledger.take(index, item.digest, item.leaf)
        self._evidence.check_entry(index, item.data, item.leaf, closes)
        self._tally.take(item.leaf)

    def _check_choice(self) -> None:
        """Exactly the entries that belong to the party, as far as these entries tell."""
        chosen = choose_entries(self._party, self._walk, self._document)
        for index in self._indexes:
            if index not in chosen:
                refuse_entry(index, f"it does not belong to the {self._party}")
        for index in sorted(chosen - self._digests.keys()):
            refuse_entry(index, "it is missing, and an entry of this export refers to it")

    def _walk(self) -> Iterator[tuple[int, Leaf]]:
        for index in self._indexes:
            data = self._files.read(proven_paths(index)[0])
            if leaf_hash(data) != self._digests[index]:
                refuse_entry(index, "its file changed while it was read")
            yield index, parse_leaf(data)

    def _document(self, digest: str) -> bytes | None:
        path = blob_path(digest)
        data = self._files.read(path) if path in self._files.paths or digest in self._files.blobs else None
        return data if data is not None and hashlib.sha256(data).hexdigest() == digest else None

    def _report(self, unclosed: int) -> Report:
        last = self._ledger.uses.get(self._party.name, 0)
        return self._tally.report(
            (self._checkpoint, self._head),
            self._evidence,
            self._ledger.uses,
            open=unclosed,
            checkpoints=0,
            scope=str(self._party),
            completeness=(ONE_KEY.format(last) if _counted(self._party) else NOT_SHOWN.format(self._party)),
        )


def _counted(party: Party) -> str:
    return party.name if party.kind == "key" else ""
