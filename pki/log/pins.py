"""The keys by which a reader believes a journal, pinned once and followed from one to the next (`log.key.rotate`).

For who reads a journal again and again, as the centre of a site box does. A new key is believed when a checkpoint over
the entry that names it bears the signature of one that was believed before. During an overlap every checkpoint does;
the last of them is kept with the entry that ends it, for who reads only afterwards.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final, Literal

import msgspec

from pki.errors import PkiError
from pki.log.checkpoints import parse_checkpoint
from pki.log.errors import AuditFailed, NoteUnsigned, VerifierKeyInvalid
from pki.log.evidence import blob_path
from pki.log.exports import walk_export
from pki.log.files import CHECKPOINT, Files, check_head
from pki.log.leaves import Leaf, parse_leaf
from pki.log.notes import LOG_KEY, VerifierKey, parse_note, parse_vkey
from pki.log.policy import NO_QUORUM, TrustPolicy, parse_policy, verify_checkpoint
from pki.log.rotations import ROTATE
from pki.signatures import spki_sha256

Keys = tuple[VerifierKey, ...]
CHANGES: Final = 64
"""Changes of the key that are followed at once."""
STATE: Final = "key.state"
DESTROYED: Final = "key.destroy.outcome"
STOPPED: Final = ("deactivated", "compromised")
"""The states from which no key comes back."""
_ED25519: Final = bytes.fromhex("302a300506032b6570032100")
_EARLIER: Final = re.compile(r"checkpoints/(0|[1-9][0-9]{0,18})\Z", re.ASCII)


class KeyChange(msgspec.Struct, frozen=True):
    """An entry that changes the key: `new` signs beside `old` (`begin`), or alone (`end`).

    note: at an end the SHA-256 of the last checkpoint that both signed; empty where none was kept.
    """

    seq: int
    act: Literal["begin", "end"]
    old: VerifierKey
    new: VerifierKey
    note: str


class KeyStop(msgspec.Struct, frozen=True):
    """An entry by which a key (SPKI digest) signs never again: one that was stolen in an overlap is not retired."""

    seq: int
    spki: str


def read_change(seq: int, leaf: Leaf) -> KeyChange | KeyStop | None:
    """What an entry changes; None when it changes no key of its journal, and ends none of any role."""
    return _read_rotation(seq, leaf) if leaf.type == ROTATE else _read_stop(seq, leaf)


def _read_stop(seq: int, leaf: Leaf) -> KeyStop | None:
    what = (leaf.op.what or {}) if leaf.type == STATE and leaf.op and not leaf.out else {}
    destroyed = leaf.type == DESTROYED and leaf.out and leaf.out.status == "ok"
    spki = leaf.keys[0].spki if leaf.keys and (destroyed or what.get("to") in STOPPED) else None
    return KeyStop(seq, spki) if spki else None


def _read_rotation(seq: int, leaf: Leaf) -> KeyChange | None:
    what = (leaf.op.what or {}) if leaf.op and not leaf.out else {}
    try:
        old, new = parse_vkey(str(what.get("old"))), parse_vkey(str(what.get("new")))
    except VerifierKeyInvalid:
        return None
    act, note = what.get("act"), what.get("checkpoint", "")
    if (
        act not in ("begin", "end")
        or old == new
        or {(key.name, key.kind) for key in (old, new)} != {(leaf.log, LOG_KEY)}
    ):
        return None
    return KeyChange(seq, act, old, new, note if isinstance(note, str) else "")


def advance_policy(policy: TrustPolicy, changes: Iterable[KeyChange | KeyStop]) -> TrustPolicy:
    """The policy after these changes; witnesses and quorum stay. A key that nothing believed introduces is ignored, and
    the last one stays.
    """
    logs = policy.logs
    for change in changes:
        if isinstance(change, KeyStop):
            logs = tuple(key for key in logs if spki_of(key) != change.spki) or logs
        elif change.act == "begin" and change.old in logs:
            logs = (*(key for key in logs if key != change.new), change.new)
        elif change.act == "end" and change.new in logs:
            logs = tuple(key for key in logs if key != change.old)
    return msgspec.structs.replace(policy, logs=logs)


def spki_of(key: VerifierKey) -> str:
    """The SHA-256 of a key's SubjectPublicKeyInfo (RFC 8410 section 4), by which entries name it."""
    return spki_sha256(_ED25519 + key.public_key)


def write_pins(policy: bytes, pinned: TrustPolicy) -> bytes:
    """The text of a policy with the log keys of another in the place of its own.

    Raises TrustPolicyInvalid when nobody could read it: too many keys, or one that is a witness's.
    """
    rest = [line for line in policy.split(b"\n") if line.split()[:1] != [b"log"]]
    text = b"".join(f"log {key.encode()}\n".encode() for key in pinned.logs) + b"\n".join(rest)
    parse_policy(text)
    return text


def follow_head(files: Files, known: int) -> Files:
    """An export as it is to be verified: itself, when a key of its policy signed the head. Else with every key beside
    them to which its entries from `known` on lead, and with the checkpoints that show it.

    Nothing of it is verified yet. Raises AuditFailed when no key signed the head that could be believed.
    """
    try:
        files.head()
    except AuditFailed as error:
        if not isinstance(error.__cause__, NoteUnsigned) or files.policy is None:
            raise
        try:
            changes = _list_changes(files, known)
        except PkiError:
            raise error from None
        if not 0 < sum(isinstance(change, KeyChange) for change in changes) <= CHANGES:
            raise
        return _widen(files, files.policy, changes)
    return files


def check_pins(files: Files, pinned: TrustPolicy) -> None:
    """The head is signed by a key that signs at its size: none that was given up. Raises AuditFailed."""
    check_head(CHECKPOINT, files.read(CHECKPOINT), pinned)


def _list_changes(files: Files, known: int) -> list[KeyChange | KeyStop]:
    entries = walk_export(msgspec.structs.replace(files, policy=None), known)
    found = (read_change(seq, parse_leaf(data)) for seq, data in entries)
    return [change for change in found if change]


def _widen(files: Files, policy: TrustPolicy, changes: list[KeyChange | KeyStop]) -> Files:
    rotations = [change for change in changes if isinstance(change, KeyChange)]
    kept = {} if policy.is_witnessed else dict(_find_kept(files, rotations))
    more = tuple(dict.fromkeys(change.new for change in rotations if change.new not in policy.logs))
    widened = msgspec.structs.replace(
        files,
        read=lambda path: kept[path] if path in kept else files.read(path),
        paths=files.paths | kept.keys(),
        policy=msgspec.structs.replace(policy, logs=(*policy.logs, *more)),
    )
    signed = list(_read_signers(widened, (*policy.logs, *more)))
    for change in changes:
        shown = (size > change.seq and set(keys) & set(policy.logs) for size, keys in signed)
        if isinstance(change, KeyChange) and change.act == "begin" and not any(shown):
            raise AuditFailed(
                f"entry {change.seq}: no checkpoint over this change of the journal's key bears a key known before",
                hint="settle while both keys sign, or end the overlap by a ceremony: it keeps their last checkpoint",
                entry=change.seq,
            )
        policy = advance_policy(policy, [change])
    return widened


def _read_signers(files: Files, keys: Keys) -> Iterator[tuple[int, Keys]]:
    """The size of each earlier checkpoint, and which of these keys signed it."""
    for path in filter(_EARLIER.match, files.paths):
        try:
            found = verify_checkpoint(TrustPolicy(keys, (), (), NO_QUORUM), files.read(path))
        except PkiError:
            continue  # the audit names what is wrong with it
        yield found.checkpoint.size, found.signers


def _find_kept(files: Files, changes: Iterable[KeyChange]) -> Iterator[tuple[str, bytes]]:
    """The checkpoints that the ends of overlaps name, as files of the export that it has not."""
    for change in changes:
        if change.note and change.note in files.blobs:
            note = files.read(blob_path(change.note))
            try:
                path = f"checkpoints/{parse_checkpoint(parse_note(note).text).size}"
            except PkiError:
                continue
            if path not in files.paths:
                yield path, note
