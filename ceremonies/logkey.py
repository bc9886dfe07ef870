"""The journal's own keys: they sign checkpoints over committed heads, and nothing else. The checkpoint is their record.

There is one; two while the key is being changed (`ceremonies.succession`). Then every checkpoint carries both.
"""

import threading
from collections.abc import Callable, Sequence

import msgspec

from ceremonies.errors import KeyroomError
from ceremonies.jobs import Unfinished
from ceremonies.journal import RESTORE, JournalForked
from ceremonies.orders import Sealed
from pki.log.checkpoints import Checkpoint, parse_checkpoint
from pki.log.errors import NoteUnsigned
from pki.log.notes import LOG_KEY, VerifierKey, add_signature, assemble_note, verify_note
from pki.log.proofs import encode_proof

SPKI_PREFIX_LENGTH = 12
"""DER of an Ed25519 SubjectPublicKeyInfo before the 32 key bytes (RFC 8410 section 4)."""


class CheckpointRejected(KeyroomError):
    """No key of the journal signed the checkpoint. No answer leaves without one, and no start believes another."""

    code = "checkpoint-rejected"


class LogKeyMissing(KeyroomError):
    """Genesis is over and no journal key is active: nothing can be proven, so nothing is released."""

    code = "log-key-missing"


class Signer(msgspec.Struct, frozen=True):
    """One key of the journal: as others know it, and how the strongbox signs with it."""

    vkey: VerifierKey
    sign: Callable[[bytes], bytes]


class LogKey:
    """Signs heads of the log with each of its keys, the oldest first, and remembers the newest checkpoint. Serves any
    thread.

    vkey: the newest key. known: every key that may have signed an earlier checkpoint, these included.
    """

    def __init__(self, signers: Sequence[Signer], earlier: Sequence[VerifierKey] = ()) -> None:
        self._signers = tuple(signers)
        self.vkeys = tuple(signer.vkey for signer in signers)
        self.vkey = self.vkeys[-1]
        self.known = (*earlier, *self.vkeys)
        self._turn = threading.Lock()
        self._size = -1
        self._checkpoint = b""

    def sign_head(self, size: int, root: bytes) -> bytes:
        """A checkpoint of this head, signed by every key. Raises CheckpointRejected, and what the strongbox raises."""
        with self._turn:
            if size == self._size:
                return self._checkpoint
            text = Checkpoint(self.vkey.name, size, root).encode()
            first, *others = [(item.vkey.name, item.vkey.key_id, item.sign(text)) for item in self._signers]
            note = assemble_note(text, *first)
            for signature in others:
                note = add_signature(note, *signature)
            if size > self._size:
                self._size, self._checkpoint = size, note
            return note


class Unproven(Unfinished):
    """A document whose outcome is committed, with the audit path of its entry under a head that is not signed yet."""

    __slots__ = ("head", "log_key", "path", "sealed")

    def __init__(self, sealed: Sealed, path: Sequence[bytes], log_key: LogKey, head: tuple[int, bytes]) -> None:
        self.sealed = sealed
        self.path = path
        self.log_key = log_key
        self.head = head

    def finish(self) -> Sealed:
        """The document with the tlog-proof of its entry. Raises what signing a checkpoint raises."""
        proof = encode_proof(self.sealed.seq, self.path, self.log_key.sign_head(*self.head))
        return msgspec.structs.replace(self.sealed, proof=proof)


def verifier_key(origin: str, public_key: bytes) -> VerifierKey:
    """A journal key (DER) as verifiers know it."""
    return VerifierKey(origin, LOG_KEY, public_key[SPKI_PREFIX_LENGTH:])


def read_checkpoint(note: bytes, keys: Sequence[VerifierKey]) -> bytes:
    """The text of a checkpoint that one of these keys signed; none of their signatures on it is false.

    Raises CheckpointRejected, NoteInvalid.
    """
    try:
        return verify_note(note, keys)[0].text
    except NoteUnsigned as error:
        raise CheckpointRejected(
            f"the checkpoint is signed by no key that this journal names: {error}",
            hint="restore the checkpoint; or the database is from before the journal's key was changed",
        ) from error


def read_kept(note: bytes, where: str, log_key: LogKey | None) -> Checkpoint:
    """A checkpoint that was kept for the next start. Raises JournalForked when the journal has no key that could have
    signed it, CheckpointRejected when none of its keys did, and the LogError of what does not parse.
    """
    if log_key is None:
        raise JournalForked(f"{where} is signed, and the journal has no key: its entries are lost", hint=RESTORE)
    return parse_checkpoint(read_checkpoint(note, log_key.known))
