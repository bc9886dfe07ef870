"""The journal's own key: signs checkpoints over committed heads, and nothing else. The checkpoint is its record."""

from collections.abc import Callable, Sequence

from ceremonies.errors import KeyroomError
from ceremonies.journal import RESTORE, JournalForked
from pki.log.checkpoints import Checkpoint, parse_checkpoint
from pki.log.notes import LOG_KEY, VerifierKey, assemble_note, verify_note
from pki.log.proofs import encode_proof

SPKI_PREFIX_LENGTH = 12
"""DER of an Ed25519 SubjectPublicKeyInfo before the 32 key bytes (RFC 8410 section 4)."""


class CheckpointRejected(KeyroomError):
    """The journal key's signature does not verify. No answer leaves without a checkpoint."""

    code = "checkpoint-rejected"


class LogKeyMissing(KeyroomError):
    """Genesis is over and no journal key is active: nothing can be proven, so nothing is released."""

    code = "log-key-missing"


class LogKey:
    """Signs the head of the log `origin` through `sign`, and remembers the last checkpoint."""

    def __init__(self, origin: str, spki: bytes, sign: Callable[[bytes], bytes]) -> None:
        self.vkey = VerifierKey(origin, LOG_KEY, spki[SPKI_PREFIX_LENGTH:])
        self._sign = sign
        self.size = -1
        self.checkpoint = b""

    def sign_head(self, size: int, root: bytes) -> bytes:
        """A signed checkpoint of this head. Raises CheckpointRejected, and what the strongbox raises."""
        if size == self.size:
            return self.checkpoint
        text = Checkpoint(self.vkey.name, size, root).encode()
        note = assemble_note(text, self.vkey.name, self.vkey.key_id, self._sign(text))
        self.size, self.checkpoint = size, note
        return note

    def prove(self, seq: int, path: Sequence[bytes]) -> bytes:
        """The tlog-proof of an entry under the last checkpoint."""
        return encode_proof(seq, path, self.checkpoint)


def read_checkpoint(note: bytes, vkey: VerifierKey) -> bytes:
    """The text of a checkpoint that this key signed. Raises CheckpointRejected."""
    verified, signatures = verify_note(note, [vkey])
    if not signatures:
        raise CheckpointRejected(f"checkpoint is not signed by {vkey.name}", hint="restore the published checkpoint")
    return verified.text


def read_kept(note: bytes, where: str, log_key: LogKey | None) -> Checkpoint:
    """A checkpoint that was kept for the next start. Raises JournalForked when the journal has no key that could have
    signed it, CheckpointRejected when its key did not, and the LogError of what does not parse.
    """
    if log_key is None:
        raise JournalForked(f"{where} is signed, and the journal has no key: its entries are lost", hint=RESTORE)
    return parse_checkpoint(read_checkpoint(note, log_key.vkey))
