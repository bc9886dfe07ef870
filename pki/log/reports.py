"""What a verification says of an export that has no fault."""

from typing import Literal

import msgspec

ALL = "every entry of the journal up to the checkpoint"
BETWEEN = "every entry after the first {}, which are those that the earlier checkpoint covers"


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict on an export that has no fault.

    verdict: `authenticated`, or `consistent-not-authenticated` when there was no policy.
    root: lowercase hex. signers: verifier keys of the log that signed. witnesses: names, as in the policy.
    first, last: times of the first and the last entry, empty in an empty journal.
    types: number of entries by type. open: intents that nothing has closed yet.
    documents_absent: documents that entries name and the export does not hold, because they are large.
    checkpoints: earlier checkpoints that the entries bear out.
    scope: `complete`, `increment`, or the party. since: size of the auditor's last checkpoint, which this one extends.
    entries: how many were checked. uses: the last kctr of each key (its label) that was counted.
    completeness: what is not shown, and what is.
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
    scope: str = "complete"
    since: int = 0
    entries: int = 0
    uses: dict[str, int] = {}
    completeness: str = ALL
