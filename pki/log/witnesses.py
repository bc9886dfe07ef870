"""Between a log and a witness (c2sp.org/tlog-witness): the request, what a witness decides, and its cosignature.

No clock, no key and no state: the server hands them in (`api.witness`), and keeps what was decided before it answers.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence

import msgspec

from pki.errors import PkiError
from pki.log.checkpoints import Checkpoint, parse_checkpoint, parse_decimal
from pki.log.errors import CosignatureMissing, LogError, SubmissionInvalid
from pki.log.merkle import EMPTY_ROOT, HASH_SIZE, verify_consistency
from pki.log.notes import MAX_NOTE, NoteSignature, VerifierKey, parse_note, verify_note

PATH = "add-checkpoint"
SIZE_TYPE = "text/x.tlog.size"
MAX_HASHES = 63
MAX_SUBMISSION = MAX_NOTE + 4096
MAX_ANSWER = 16 * 1024


class Submission(msgspec.Struct, frozen=True):
    """A signed checkpoint for a witness, with the proof that it extends the tree of `old` leaves."""

    old: int
    proof: tuple[bytes, ...]
    note: bytes


class Seen(msgspec.Struct, frozen=True):
    """The newest head of a log that a witness has cosigned; by default none."""

    size: int = 0
    root: bytes = EMPTY_ROOT


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a witness does with a submission. `status` is the protocol's (an HTTP status); 200: cosign `checkpoint`.

    size: what a 409 tells. fork: the log signed two roots for one size, which proves a fork; a 422 after something was
    cosigned only suggests one, for anybody may send a false proof with a true checkpoint.
    """

    status: int
    why: str = ""
    checkpoint: Checkpoint | None = None
    size: int = 0
    fork: bool = False


def encode_submission(submission: Submission) -> bytes:
    """The body of an add-checkpoint request."""
    lines = [b"old %d\n" % submission.old, *(base64.b64encode(item) + b"\n" for item in submission.proof), b"\n"]
    return b"".join(lines) + submission.note


def parse_submission(data: bytes) -> Submission:
    """Read the body of an add-checkpoint request; its checkpoint stays as bytes. Raises SubmissionInvalid."""
    head, blank, note = data.partition(b"\n\n")
    if len(data) > MAX_SUBMISSION or not blank or not note.endswith(b"\n"):
        raise SubmissionInvalid("not an add-checkpoint request, or too large")
    first, *lines = head.split(b"\n")
    word, _, number = first.partition(b" ")
    old = parse_decimal(number.decode("latin-1"))
    if word != b"old" or old is None:
        raise SubmissionInvalid("the request does not begin with `old` and a size")
    if len(lines) > MAX_HASHES:
        raise SubmissionInvalid(f"the proof has {len(lines)} hashes, at most {MAX_HASHES} are allowed")
    return Submission(old, tuple(map(_parse_hash, lines)), note)


def judge_submission(logs: Mapping[str, Sequence[VerifierKey]], seen: Mapping[str, Seen], data: bytes) -> Verdict:
    """Decide on the body of an add-checkpoint request, in the order of tlog-witness.

    logs: the keys that may sign for an origin. seen: what was cosigned last, by origin. Stricter than the standard: a
    checkpoint with extension lines, and one of size 0 with a root of its own, does not parse (400).
    """
    try:
        submission = parse_submission(data)
        checkpoint = parse_checkpoint(parse_note(submission.note).text)
    except LogError as error:
        return Verdict(status=400, why=str(error))
    keys = logs.get(checkpoint.origin)
    if not keys:
        return Verdict(status=404, why=f"no log {checkpoint.origin} is known here")
    try:
        verify_note(submission.note, keys)
    except PkiError as error:
        return Verdict(status=403, why=str(error))
    if submission.old > checkpoint.size:
        return Verdict(status=400, why=f"old size {submission.old} is over the checkpoint's {checkpoint.size}")
    return _judge_growth(submission, checkpoint, seen.get(checkpoint.origin, Seen()))


def encode_cosignature(key: VerifierKey, timestamp: int, signature: bytes) -> bytes:
    """A witness's signature line. `signature` is by `key`, over `pki.log.notes.cosigned_text`; POSIX seconds."""
    return NoteSignature(key.name, key.key_id, timestamp.to_bytes(8, "big") + signature).encode()


def read_cosignature(note: bytes, answer: bytes, key: VerifierKey) -> tuple[bytes, int]:
    """The line of `key` in a witness's answer about a checkpoint, verified, and its POSIX time; others are ignored.

    Raises CosignatureMissing, NoteInvalid.
    """
    if len(answer) > MAX_ANSWER:
        raise CosignatureMissing(f"the answer has over {MAX_ANSWER} bytes")
    text = parse_note(note).text
    lines = [
        item
        for item in parse_note(text + b"\n" + answer).signatures
        if (item.name, item.key_id) == (key.name, key.key_id)
    ]
    if len(lines) != 1:
        raise CosignatureMissing(f"the answer has {len(lines)} cosignatures of {key.name}, one is expected")
    _, (verified,) = verify_note(text + b"\n" + lines[0].encode(), [key])
    return lines[0].encode(), verified.timestamp


def _judge_growth(submission: Submission, checkpoint: Checkpoint, seen: Seen) -> Verdict:
    # Another root for the size that was cosigned is a fork, whatever old size came with it.
    forked = checkpoint.size == seen.size and checkpoint.root != seen.root
    if submission.old != seen.size:
        why = f"{seen.size} entries were cosigned last, not {submission.old}"
        return Verdict(status=409, why=why, checkpoint=checkpoint, size=seen.size, fork=forked)
    try:
        verify_consistency(seen.size, seen.root, checkpoint.size, checkpoint.root, submission.proof)
    except LogError as error:
        return Verdict(status=422, why=str(error), checkpoint=checkpoint, fork=forked)
    return Verdict(status=200, checkpoint=checkpoint)


def _parse_hash(line: bytes) -> bytes:
    try:
        data = base64.b64decode(line, validate=True)
    except binascii.Error as error:
        raise SubmissionInvalid("a line of the proof is not base64") from error
    if len(data) != HASH_SIZE or base64.b64encode(data) != line:
        raise SubmissionInvalid("a line of the proof is not the canonical base64 of 32 bytes")
    return data
