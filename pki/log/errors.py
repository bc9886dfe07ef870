"""What can be wrong with a leaf, a tree, a note, a tile, a proof, a policy or a whole export."""

from pki.errors import PkiError


class LogError(PkiError):
    """The root of every error about the journal's formats."""

    code = "log-error"


class LeafInvalid(LogError):
    """The bytes or the values are not a leaf of the journal."""

    code = "leaf-invalid"


class FrontierInvalid(LogError):
    """The stored frontier is not one, or is not that of the size it claims."""

    code = "frontier-invalid"


class NodeInvalid(LogError):
    """A stored node of the tree is missing, has a wrong size, or is asked for outside the tree."""

    code = "node-invalid"


class StageStale(LogError):
    """A staged growth was accepted by a tree that has changed since."""

    code = "stage-stale"


class InclusionInvalid(LogError):
    """An inclusion proof does not lead from the leaf to the root."""

    code = "inclusion-invalid"


class ConsistencyInvalid(LogError):
    """A consistency proof does not lead from the old root to the new root."""

    code = "consistency-invalid"


class NoteInvalid(LogError):
    """The bytes are not a signed note, or one of its known signatures is false."""

    code = "note-invalid"


class NoteUnsigned(LogError):
    """No known key has signed the note."""

    code = "note-unsigned"


class VerifierKeyInvalid(LogError):
    """The text is not a verifier key, or its key id is not that of its key."""

    code = "verifier-key-invalid"


class CheckpointInvalid(LogError):
    """The text of a note is not a checkpoint."""

    code = "checkpoint-invalid"


class TileInvalid(LogError):
    """The bytes are not the tile that the path names, or the path names no tile."""

    code = "tile-invalid"


class ProofInvalid(LogError):
    """The bytes are not a tlog-proof, or it proves another entry."""

    code = "proof-invalid"


class TrustPolicyInvalid(LogError):
    """The file is not a policy, or it trusts nobody."""

    code = "trust-policy-invalid"


class OriginUnknown(LogError):
    """The policy lists no log with the origin of this checkpoint."""

    code = "origin-unknown"


class WitnessesMissing(LogError):
    """The cosignatures on a checkpoint do not reach the quorum."""

    code = "witnesses-missing"


class SubmissionInvalid(LogError):
    """The bytes are not an add-checkpoint request for a witness."""

    code = "submission-invalid"


class CosignatureMissing(LogError):
    """A witness's answer has no cosignature of its key."""

    code = "cosignature-missing"


class StampInvalid(LogError):
    """The bytes are not a time-stamp of these data by a trusted authority."""

    code = "stamp-invalid"


class AuditFailed(LogError):
    """An exported journal is not what it claims to be.

    entry: the index of the first bad entry, when the fault is in an entry.
    path: the bad file, when the fault is in a file.
    """

    code = "audit-failed"

    def __init__(self, message: str, *, hint: str = "", entry: int | None = None, path: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.entry = entry
        self.path = path
