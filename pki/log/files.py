"""An export as files: which they are, how to read one, and the checkpoint above them."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import msgspec
from cryptography import x509

from pki.errors import PkiError
from pki.log.checkpoints import Checkpoint, parse_checkpoint
from pki.log.digests import Digests
from pki.log.errors import AuditFailed
from pki.log.notes import parse_note
from pki.log.policy import TrustPolicy, VerifiedCheckpoint, verify_checkpoint
from pki.log.schema import leaf_schema

CHECKPOINT = "checkpoint"
SCHEMA = "leaf.schema.json"
DOCUMENTS = frozenset([SCHEMA, "trust.cddl"])


class Files(msgspec.Struct, frozen=True):
    """An export: its files, relative with `/`, how to read one, and whom to trust; for time-stamps, `authorities`.

    blobs: the files `blob/` that are not among `paths`: there are millions, and a path takes ten times their memory.
    """

    read: Callable[[str], bytes]
    paths: frozenset[str]
    policy: TrustPolicy | None
    documents: Mapping[str, bytes] = MappingProxyType({SCHEMA: leaf_schema()})
    authorities: tuple[x509.Certificate, ...] = ()
    blobs: Digests = Digests()

    def head(self, path: str = CHECKPOINT) -> tuple[Checkpoint, VerifiedCheckpoint | None]:
        """A checkpoint of the export, verified when there is a policy. Raises AuditFailed."""
        if path not in self.paths:
            raise AuditFailed(f"{path}: the file is missing", path=path)
        return check_head(path, self.read(path), self.policy)

    def check_documents(self) -> None:
        """What explains an export, where it is there, is what this release says. Raises AuditFailed."""
        for path, data in sorted(self.documents.items()):
            if path in self.paths and self.read(path) != data:
                raise AuditFailed(f"{path}: not the file of this release", hint="fetch it from the release", path=path)


def check_head(path: str, note: bytes, policy: TrustPolicy | None) -> tuple[Checkpoint, VerifiedCheckpoint | None]:
    """A checkpoint, verified when there is a policy. Raises AuditFailed, naming `path`."""
    try:
        if policy is None:
            return parse_checkpoint(parse_note(note).text), None
        head = verify_checkpoint(policy, note)
    except PkiError as error:
        raise AuditFailed(f"{path}: {error}", hint=error.hint, path=path) from error
    return head.checkpoint, head
