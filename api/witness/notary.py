"""The witness itself: judges a submission against its records, remembers, and only then gives its cosignature away."""

import threading
from collections.abc import Callable, Mapping, Sequence

import msgspec
import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from api.errors import ApiError
from api.witness.records import Records, origin_hash
from api.witness.settings import WitnessMisconfigured, witness_vkey
from pki.log.checkpoints import Checkpoint, parse_checkpoint
from pki.log.errors import LogError
from pki.log.notes import VerifierKey, cosigned_text, parse_note, verify_note
from pki.log.witnesses import SIZE_TYPE, Seen, Verdict, encode_cosignature, judge_submission, parse_submission

log = structlog.get_logger("kedge.witness")

TEXT = "text/plain; charset=utf-8"


class ClockBehind(ApiError):
    """The clock is before the last cosignature: a cosignature would say what is not true."""

    code = "clock-behind"


class Reply(msgspec.Struct, frozen=True):
    """An answer: HTTP status, body, media type."""

    status: int
    body: bytes
    media_type: str = TEXT


class Notary:
    """Cosigns for the known `logs`; `now` gives POSIX seconds. Any thread may call; one submission at a time is judged.

    The records are read anew each time: whatever a failed write left on the disk is what counts. Raises
    WitnessMisconfigured at construction when they are damaged, or were written with another key.
    """

    def __init__(
        self,
        identity: tuple[str, Ed25519PrivateKey],
        logs: Mapping[str, Sequence[VerifierKey]],
        records: Records,
        now: Callable[[], int],
    ) -> None:
        name, self._key = identity
        self.vkey = witness_vkey(name, self._key)
        self._logs = logs
        self._records = records
        self._now = now
        self._turn = threading.Lock()
        for _, note in self._known():
            self._read(note)

    def answer(self, body: bytes) -> Reply:
        """Judge an add-checkpoint request. Raises ClockBehind, WitnessMisconfigured, OSError."""
        with self._turn:
            cosigned = {origin: (note, *self._read(note)) for origin, note in self._known()}
            verdict = judge_submission(self._logs, {origin: item[1] for origin, item in cosigned.items()}, body)
            checkpoint = verdict.checkpoint
            if checkpoint is not None and (verdict.fork or verdict.status == 422) and checkpoint.origin in cosigned:
                kept = cosigned[checkpoint.origin][0]
                self._records.keep_evidence(checkpoint.origin, kept, body, proven=verdict.fork, why=verdict.why)
                told = "a log has forked" if verdict.fork else "a proof failed: perhaps a log has forked"
                log.critical(told, origin=checkpoint.origin, size=checkpoint.size, why=verdict.why)
            if checkpoint is None or verdict.status != 200:
                return refuse(verdict)
            last = cosigned[checkpoint.origin][2] if checkpoint.origin in cosigned else 0
            return Reply(200, self._cosign(checkpoint, parse_submission(body).note, last))

    def show(self, name: str) -> bytes | None:
        """The cosigned checkpoint of the log whose origin has this SHA-256, or None."""
        return self._records.read(name) if name in map(origin_hash, self._logs) else None

    def _known(self) -> list[tuple[str, bytes]]:
        found = [(origin, self._records.read(origin_hash(origin))) for origin in self._logs]
        return [(origin, note) for origin, note in found if note is not None]

    def _read(self, note: bytes) -> tuple[Seen, int]:
        """What a record says, and when; only this witness could have written it. Raises WitnessMisconfigured."""
        try:
            text, (own,) = verify_note(note, [self.vkey])
            checkpoint = parse_checkpoint(text.text)
        except LogError as error:
            # Never a status of the protocol: the log would take it for a contradiction.
            raise WitnessMisconfigured(
                f"a record is damaged, or another key's: {error}", hint="retire this witness, make another"
            ) from error
        return Seen(checkpoint.size, checkpoint.root), own.timestamp

    def _cosign(self, checkpoint: Checkpoint, note: bytes, last: int) -> bytes:
        now = self._now()
        if now < last:
            raise ClockBehind(f"the clock is {last - now} s before the last cosignature", hint="set the clock")
        text = checkpoint.encode()
        line = encode_cosignature(self.vkey, now, self._key.sign(cosigned_text(text, now)))
        known = {(key.name, key.key_id) for key in self._logs[checkpoint.origin]}
        logs = b"".join(item.encode() for item in parse_note(note).signatures if (item.name, item.key_id) in known)
        # A crash after this commit: the cosignature is remembered and not given away; the log asks again from here.
        self._records.keep(checkpoint.origin, text + b"\n" + logs + line)
        return line


def refuse(verdict: Verdict) -> Reply:
    """A refusal on the wire; a 409 tells the size that was cosigned last."""
    if verdict.status == 409:
        return Reply(409, b"%d\n" % verdict.size, SIZE_TYPE)
    return Reply(verdict.status, f"{verdict.why}\n".encode())
