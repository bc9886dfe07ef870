"""What a verification says of an export that has no fault."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from pki.log.checkpoints import Checkpoint
from pki.log.evidence import Evidence
from pki.log.leaves import RECOVER, Leaf
from pki.log.policy import VerifiedCheckpoint

ALL = "every entry of the journal up to the checkpoint"
BETWEEN = "every entry after the first {}, which are those that the earlier checkpoint covers"


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict on an export that has no fault.

    verdict: `authenticated`, or `consistent-not-authenticated` when there was no policy.
    root: lowercase hex. signers: verifier keys of the log that signed. witnesses: names, as in the policy.
    first, last: times of the first and the last entry, empty in an empty journal.
    types: number of entries by type. open: intents that nothing has closed yet.
    documents_absent: documents that entries name and the export does not hold, because they are large.
    checkpoints: earlier checkpoints that the entries bear out. stamps: what each time-stamp of one says.
    scope: `complete`, `increment`, or the party. since: size of the auditor's last checkpoint, which this one extends.
    entries: how many were checked. uses: the last kctr of each key (its label) that was counted.
    completeness: what is not shown, and what is.
    recoveries: entries by which officers let the journal go on after a loss, and what they gave up.
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
    stamps: tuple[str, ...] = ()
    scope: str = "complete"
    since: int = 0
    entries: int = 0
    uses: dict[str, int] = {}
    completeness: str = ALL
    recoveries: tuple[str, ...] = ()


class Tally:
    """What a verification counts on its way through the entries."""

    def __init__(self) -> None:
        self._types: Counter[str] = Counter()
        self._times = ("", "")
        self._labels: dict[str, str] = {}
        self._recoveries: list[str] = []

    def take(self, leaf: Leaf) -> None:
        """Count one entry, and the keys whose uses it counts."""
        self._types[leaf.type] += 1
        self._times = (self._times[0] or leaf.ts, leaf.ts)
        if leaf.type == RECOVER and leaf.op and leaf.op.what and "lost" in leaf.op.what:
            self._recoveries.append(f"entry {leaf.seq} gives up {leaf.op.what['lost']}: {leaf.op.what.get('reason')}")
        for key in leaf.keys or ():
            if key.kctr and key.spki:
                self._labels[key.spki] = f"{key.label or 'key'} {key.spki[:16]}"

    def report(
        self,
        head: tuple[Checkpoint, VerifiedCheckpoint | None],
        evidence: Evidence,
        uses: Mapping[str, int],
        **more: Any,
    ) -> Report:
        """The report on these entries. uses: the last kctr by spki. more: what the kind of export has of its own."""
        checkpoint, verified = head
        return Report(
            verdict="authenticated" if verified else "consistent-not-authenticated",
            origin=checkpoint.origin,
            size=checkpoint.size,
            root=checkpoint.root.hex(),
            signers=tuple(key.encode() for key in verified.signers) if verified else (),
            witnesses=tuple(name for name, _ in verified.witnesses) if verified else (),
            first=self._times[0],
            last=self._times[1],
            types=dict(sorted(self._types.items())),
            signatures=evidence.signatures,
            blobs=evidence.count,
            documents=evidence.documents,
            documents_absent=evidence.documents_absent,
            entries=sum(self._types.values()),
            recoveries=tuple(self._recoveries),
            uses={label: uses[spki] for spki, label in sorted(self._labels.items())},
            **more,
        )
