"""Whom to believe: the trust policy of a log (c2sp.org/tlog-policy), and checkpoints verified against it.

This is the FILE of `kedge verify --trust FILE` and the `journal-trust` that comes to an auditor by another way than
the export. Stricter than the standard: at least one log is listed, and a key is a log's or a witness's, not both.
"""

import re
from collections.abc import Iterable

import msgspec

from pki.log.checkpoints import Checkpoint, parse_checkpoint
from pki.log.errors import NoteUnsigned, OriginUnknown, TrustPolicyInvalid, VerifierKeyInvalid, WitnessesMissing
from pki.log.notes import LOG_KEY, WITNESS_KEY, VerifierKey, parse_note, parse_vkey, verify_note

MAX_POLICY = 256 * 1024
MAX_LINES = 64
NO_QUORUM = "none"

_ALLOWED = re.compile(rb"[\x09\x0a\x20-\x7e\x80-\xff]*\Z")
_COUNT = re.compile(r"[1-9][0-9]{0,2}\Z", re.ASCII)


class Group(msgspec.Struct, frozen=True):
    """Witnesses and earlier groups, of which `threshold` must have cosigned."""

    name: str
    threshold: int
    members: tuple[str, ...]


class TrustPolicy(msgspec.Struct, frozen=True):
    """Log keys, witness keys by name, groups, and which witness or group must have cosigned (or `none`).

    urls: where a witness takes submissions, by name, for those whose line says it.
    """

    logs: tuple[VerifierKey, ...]
    witnesses: tuple[tuple[str, VerifierKey], ...]
    groups: tuple[Group, ...]
    quorum: str
    urls: tuple[tuple[str, str], ...] = ()

    @property
    def is_witnessed(self) -> bool:
        """Whether a quorum of witnesses is asked for."""
        return self.quorum != NO_QUORUM


class Cosigned(msgspec.Struct, frozen=True):
    """How far cosignatures reach: who cosigned, and how many more witnesses the quorum needs at least."""

    witnesses: tuple[str, ...]
    missing: int


class VerifiedCheckpoint(msgspec.Struct, frozen=True):
    """A checkpoint that the policy accepts: the log keys that signed it, and the witnesses with their POSIX times."""

    checkpoint: Checkpoint
    signers: tuple[VerifierKey, ...]
    witnesses: tuple[tuple[str, int], ...]


def parse_policy(data: bytes, *, own_log: bool = False) -> TrustPolicy:
    """Read a policy file. `own_log`: the reader is the log itself, so that no log need be listed.

    Raises TrustPolicyInvalid, naming the line.
    """
    if len(data) > MAX_POLICY or not _ALLOWED.match(data):
        raise TrustPolicyInvalid("the policy is too large or has control characters other than tab and newline")
    if data and not data.endswith(b"\n"):
        raise TrustPolicyInvalid("the policy's last line has no newline", hint="the file may be cut off")
    reader = _Reader()
    # Octets above 0x7f are opaque: latin-1 keeps each as it is.
    for number, line in enumerate(data.decode("latin-1").split("\n"), 1):
        words = re.split("[ \t]+", line.strip(" \t"))
        if words[0] and not words[0].startswith("#"):
            try:
                reader.read(words)
            except (TrustPolicyInvalid, VerifierKeyInvalid) as error:
                raise TrustPolicyInvalid(f"line {number}: {error}", hint=error.hint) from error
    return reader.finish(own_log=own_log)


def weigh_cosignatures(policy: TrustPolicy, witnesses: Iterable[str]) -> Cosigned:
    """Compare the witnesses that cosigned, by name, with the quorum."""
    cosigned = tuple(witnesses)
    missing = {name: int(name not in cosigned) for name, _ in policy.witnesses}
    # A name is a member once at most, so groups form trees and the cheapest members add up.
    for group in policy.groups:
        missing[group.name] = sum(sorted(missing[member] for member in group.members)[: group.threshold])
    return Cosigned(cosigned, missing[policy.quorum] if policy.is_witnessed else 0)


def verify_checkpoint(policy: TrustPolicy, note: bytes) -> VerifiedCheckpoint:
    """Check a signed checkpoint: a listed log of its origin has signed it, and a quorum of witnesses has cosigned it.

    Raises NoteInvalid, CheckpointInvalid, OriginUnknown, NoteUnsigned, WitnessesMissing.
    """
    checkpoint = parse_checkpoint(parse_note(note).text)
    logs = [key for key in policy.logs if key.name == checkpoint.origin]
    if not logs:
        raise OriginUnknown(
            f"the policy lists no log {checkpoint.origin}", hint="is this the trust file of another journal?"
        )
    names = {key: name for name, key in policy.witnesses}
    _, signed = verify_note(note, [*logs, *names])
    signers = tuple(item.key for item in signed if item.key in logs)
    if not signers:
        raise NoteUnsigned(f"no listed key of the log {checkpoint.origin} signed its checkpoint {checkpoint.size}")
    witnesses = tuple((names[item.key], item.timestamp) for item in signed if item.key in names)
    cosigned = weigh_cosignatures(policy, [name for name, _ in witnesses])
    if cosigned.missing:
        name = f"checkpoint {checkpoint.size} of {checkpoint.origin}"
        raise WitnessesMissing(
            f"{name}: the quorum {policy.quorum} needs {cosigned.missing} more witnesses",
            hint=f"cosigned by: {', '.join(cosigned.witnesses) or 'nobody'}",
        )
    return VerifiedCheckpoint(checkpoint, signers, witnesses)


class _Reader:
    """What has been read of a policy so far."""

    def __init__(self) -> None:
        self._logs: list[VerifierKey] = []
        self._witnesses: list[tuple[str, VerifierKey]] = []
        self._groups: list[Group] = []
        self._urls: list[tuple[str, str]] = []
        self._quorum: str | None = None
        self._free: dict[str, bool] = {}  # witness and group names, whether they can still become a member
        self._keys: set[bytes] = set()

    def read(self, words: list[str]) -> None:
        readers = {"log": self._log, "witness": self._witness, "group": self._group, "quorum": self._set_quorum}
        if words[0] not in readers:
            raise TrustPolicyInvalid(f"{words[0][:40]!r} is neither log, witness, group nor quorum")
        readers[words[0]](words[1:])

    def finish(self, *, own_log: bool) -> TrustPolicy:
        if self._quorum is None:
            raise TrustPolicyInvalid("the policy has no quorum line", hint="write `quorum none` if you mean it")
        if not (self._logs or own_log):
            raise TrustPolicyInvalid("the policy lists no log", hint="add `log <vkey>`")
        listed = tuple(self._logs), tuple(self._witnesses), tuple(self._groups)
        return TrustPolicy(*listed, self._quorum, tuple(self._urls))

    def _log(self, words: list[str]) -> None:
        if len(words) not in (1, 2) or len(self._logs) == MAX_LINES:
            raise TrustPolicyInvalid("expected: log <vkey> [<url>], at most 64 of them")
        self._logs.append(self._key(words[0], LOG_KEY, "0x01"))

    def _witness(self, words: list[str]) -> None:
        if len(words) not in (2, 3) or len(self._witnesses) == MAX_LINES:
            raise TrustPolicyInvalid("expected: witness <name> <vkey> [<url>], at most 64 of them")
        self._define(words[0])
        self._witnesses.append((words[0], self._key(words[1], WITNESS_KEY, "0x04")))
        self._urls += [(words[0], url) for url in words[2:]]

    def _group(self, words: list[str]) -> None:
        if len(words) < 3 or len(self._groups) == MAX_LINES:
            raise TrustPolicyInvalid("expected: group <name> all|any|<k> <name>..., at most 64 of them")
        name, count, *members = words
        for member in members:
            if not self._free.get(member):
                raise TrustPolicyInvalid(f"{member[:40]!r} is not defined above, or a member already")
            self._free[member] = False
        self._define(name)
        threshold = {"all": len(members), "any": 1}.get(count) or (int(count) if _COUNT.match(count) else 0)
        if not 1 <= threshold <= len(members):
            raise TrustPolicyInvalid(f"the threshold {count[:40]!r} is not all, any, or 1 to {len(members)}")
        self._groups.append(Group(name, threshold, tuple(members)))

    def _set_quorum(self, words: list[str]) -> None:
        if len(words) != 1 or self._quorum is not None:
            raise TrustPolicyInvalid("expected exactly one line: quorum <name>")
        if words[0] != NO_QUORUM and words[0] not in self._free:
            raise TrustPolicyInvalid(f"{words[0][:40]!r} is not defined above")
        self._quorum = words[0]

    def _define(self, name: str) -> None:
        if name == NO_QUORUM or name in self._free:
            raise TrustPolicyInvalid(f"the name {name[:40]!r} is taken")
        self._free[name] = True

    def _key(self, vkey: str, kind: int, kind_name: str) -> VerifierKey:
        try:
            key = parse_vkey(vkey.encode("latin-1").decode())
        except UnicodeDecodeError as error:
            raise TrustPolicyInvalid("the verifier key is not UTF-8") from error
        if key.kind != kind:
            raise TrustPolicyInvalid(f"the key {key.name} has not the signature type {kind_name}")
        if key.public_key in self._keys:
            raise TrustPolicyInvalid(f"the public key of {key.name} is listed twice")
        self._keys.add(key.public_key)
        return key
