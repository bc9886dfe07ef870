"""What the entries of a journal owe each other: chain, counters, and intents that are closed exactly once."""

from typing import NoReturn

import msgspec
from msgspec import UNSET

from pki.log.errors import AuditFailed
from pki.log.leaves import FIRST_PREV, KEY_OPERATIONS, Leaf

_OPEN, _CLOSED = 1, 2


class Intent(msgspec.Struct, frozen=True):
    """An intent entry: its index, its leaf hash and its content."""

    index: int
    digest: bytes
    leaf: Leaf


def refuse_entry(index: int, what: str) -> NoReturn:
    """Name a bad entry."""
    raise AuditFailed(f"entry {index}: {what}", entry=index)


class Ledger:
    """Reads entries in order. Raises AuditFailed at the first that does not fit those before it."""

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self._previous = FIRST_PREV
        self._intents: dict[int, Intent] = {}
        self._states = bytearray()  # one byte per entry: 0, _OPEN or _CLOSED
        self._uses: dict[str, int] = {}
        self._approvals: dict[int, str] = {}

    @property
    def open_intents(self) -> tuple[Intent, ...]:
        """The intents that nothing has closed, oldest first."""
        return tuple(self._intents.values())

    def record(self, digest: bytes, leaf: Leaf) -> Intent | None:
        """Take the next entry, with its leaf hash. Returns the intent that it closes, if it closes one."""
        index = len(self._states)
        self._check_chain(index, leaf)
        self._check_approvals(index, leaf)
        self._states.append(0)
        self._previous = digest.hex()
        if leaf.type == "approval":
            self._approvals[index] = self._previous
        operation, _, step = leaf.type.rpartition(".")
        if operation not in KEY_OPERATIONS:
            return None
        if step == "intent":
            self._count_uses(index, leaf)
            self._intents[index] = Intent(index, digest, leaf)
            self._states[index] = _OPEN
        return self._close(index, leaf, operation) if step in ("outcome", "unknown") else None

    def _check_chain(self, index: int, leaf: Leaf) -> None:
        if leaf.log != self._origin:
            refuse_entry(index, f"it belongs to the journal {leaf.log}, not to {self._origin}")
        if leaf.seq != index:
            refuse_entry(index, f"its seq is {leaf.seq}")
        if leaf.prev != self._previous:
            refuse_entry(index, "its prev is not the leaf hash of the entry before it")

    def _check_approvals(self, index: int, leaf: Leaf) -> None:
        if leaf.apr is UNSET:
            return
        for approval in leaf.apr:
            if self._approvals.get(approval.i) != approval.h:
                refuse_entry(index, f"it counts entry {approval.i}, which is no approval with this leaf hash before it")
        if len({approval.i for approval in leaf.apr}) != len(leaf.apr):
            refuse_entry(index, "it counts an approval twice")

    def _count_uses(self, index: int, leaf: Leaf) -> None:
        for key in leaf.keys if leaf.keys is not UNSET else ():
            if key.kctr is UNSET or key.spki is UNSET:
                continue
            expected = self._uses.get(key.spki, 0) + 1
            if key.kctr != expected:
                refuse_entry(index, f"its kctr for key {key.spki[:16]} is {key.kctr}, {expected} is expected")
            self._uses[key.spki] = expected

    def _close(self, index: int, leaf: Leaf, operation: str) -> Intent:
        if leaf.ref is UNSET:
            refuse_entry(index, "it names no intent")
        named = leaf.ref.i
        state = self._states[named] if named < index else 0
        if state == _CLOSED:
            refuse_entry(index, f"it closes entry {named}, which is closed already")
        intent = self._intents.get(named)
        if intent is None:
            refuse_entry(index, f"it closes entry {named}, which is no intent before it")
        if intent.leaf.type != f"{operation}.intent":
            refuse_entry(index, f"a {leaf.type} closes entry {named}, a {intent.leaf.type}")
        if intent.digest.hex() != leaf.ref.h:
            refuse_entry(index, f"its ref.h is not the leaf hash of entry {named}")
        del self._intents[named]
        self._states[named] = _CLOSED
        return intent
