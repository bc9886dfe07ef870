"""An increment: what a journal has more than an auditor's last checkpoint covered.

Beside checkpoint, new tiles and blobs of new entries it holds `consistency`, in the form of an add-checkpoint request
of c2sp.org/tlog-witness (old size, consistency proof, new checkpoint), and `proven/`: earlier entries that new ones
refer to (intents, approvals), and the last earlier use of each key that was used again, each with its proof.
"""

import msgspec

from pki.errors import PkiError
from pki.log.audit import Audit
from pki.log.checkpoints import Checkpoint
from pki.log.errors import AuditFailed
from pki.log.files import CHECKPOINT, Files
from pki.log.merkle import verify_consistency
from pki.log.proven import read_proven, split_proven
from pki.log.reports import Report
from pki.log.witnesses import encode_submission, parse_submission

CONSISTENCY = "consistency"


def audit_increment(files: Files, since: Checkpoint, *, allow_open: bool = False) -> Report:
    """Verify an increment alone, against the checkpoint that the auditor verified last. Raises AuditFailed.

    Checked are the old root against the new one, every new entry with its chain, counters and intents, and the blobs of
    new entries. What was before is the earlier export's.
    """
    head, _ = files.head()
    check_extension(files, head, since)
    carried, rest = split_proven(files.paths)
    note = files.read(CHECKPOINT)
    audit = Audit(
        msgspec.structs.replace(files, paths=frozenset(rest - {CONSISTENCY})),
        since=since,
        known=since.size,
        carried=[read_proven(files.read, index, note, head) for index in carried],
    )
    audit.check_entries()
    return audit.finish(allow_open=allow_open)


def check_extension(files: Files, head: Checkpoint, since: Checkpoint) -> None:
    """The increment's proof leads from the auditor's checkpoint to that of the increment. Raises AuditFailed."""
    data = files.read(CONSISTENCY)
    try:
        proof = parse_submission(data)
        if encode_submission(proof) != data or proof.note != files.read(CHECKPOINT):
            raise AuditFailed(f"{CONSISTENCY}: its checkpoint is not that of this export", path=CONSISTENCY)
        if (proof.old, head.origin) != (since.size, since.origin):
            raise AuditFailed(
                f"{CONSISTENCY}: it goes on from {proof.old} entries of {head.origin}, "
                f"the checkpoint given is of {since.size} entries of {since.origin}",
                hint="give the checkpoint for which this increment was made",
                path=CONSISTENCY,
            )
        verify_consistency(since.size, since.root, head.size, head.root, proof.proof)
    except AuditFailed:
        raise
    except PkiError as error:
        raise AuditFailed(f"{CONSISTENCY}: {error}", hint=error.hint, path=CONSISTENCY) from error
