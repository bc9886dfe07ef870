"""What the entries of a journal owe each other: chain, counters, and intents that are closed exactly once."""

from typing import NoReturn

import msgspec
from msgspec import UNSET

from pki.log.errors import AuditFailed
from pki.log.leaves import FIRST_PREV, KEY_OPERATIONS, RECOVER, Leaf

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
    """Reads entries in order. Raises AuditFailed at the first that does not fit those before it.

    first: the index of the first entry that is read. known: entries before it were checked another time; they are
    remembered, and owe nothing to entries before `first` that nobody shows.
    """

    def __init__(self, origin: str, first: int = 0, known: int = 0) -> None:
        self._origin = origin
        self._first, self._known = first, known
        self._previous = FIRST_PREV if first == 0 else ""
        self._intents: dict[int, Intent] = {}
        self._states = bytearray()  # one byte per entry from `first` on: 0, _OPEN or _CLOSED
        self._carried: dict[int, int] = {}  # the same of entries before `first`
        self._approvals: dict[int, str] = {}
        self.uses: dict[str, int] = {}

    @property
    def open_intents(self) -> tuple[Intent, ...]:
        """The intents that nothing has closed, oldest first."""
        return tuple(intent for intent in self._intents.values() if intent.index >= self._first)

    def carry(self, index: int, digest: bytes, leaf: Leaf) -> None:
        """Take an entry from before `first`, in order: an intent or an approval that a later entry refers to, or the
        last use of a key.
        """
        if index >= self._first:
            refuse_entry(index, "it is carried, and stands among the entries as well")
        self._remember(index, digest, leaf)

    def record(self, digest: bytes, leaf: Leaf) -> Intent | None:
        """Take the next entry, with its leaf hash. Returns the intent that it closes, if it closes one."""
        index = self._first + len(self._states)
        self._check_chain(index, leaf)
        self._states.append(0)
        self._previous = digest.hex()
        if index < self._known:
            self._remember(index, digest, leaf)
            return None
        return self._take(index, digest, leaf)

    def _take(self, index: int, digest: bytes, leaf: Leaf) -> Intent | None:
        self._check_approvals(index, leaf)
        if leaf.type == "approval":
            self._approvals[index] = digest.hex()
        if leaf.type == RECOVER:
            self._go_on(index, leaf)
        operation, _, step = leaf.type.rpartition(".")
        if operation not in KEY_OPERATIONS:
            return None
        if step == "intent":
            self._count_uses(index, leaf)
            self._intents[index] = Intent(index, digest, leaf)
            self._mark(index, _OPEN)
        return self._close(index, leaf, operation) if step in ("outcome", "unknown") else None

    def _remember(self, index: int, digest: bytes, leaf: Leaf) -> None:
        """What later entries need of an entry that was checked another time."""
        if leaf.type == "approval":
            self._approvals[index] = digest.hex()
        elif leaf.type == RECOVER:
            self._go_on(index, leaf)
        elif leaf.type.endswith(".intent"):
            self._intents[index] = Intent(index, digest, leaf)
            self._mark(index, _OPEN)
            self.uses |= {key.spki: key.kctr for key in leaf.keys or () if key.kctr and key.spki}
        elif leaf.ref is not UNSET and self._intents.pop(leaf.ref.i, None) is not None:
            self._mark(leaf.ref.i, _CLOSED)

    def _state(self, index: int) -> int:
        return self._states[index - self._first] if index >= self._first else self._carried.get(index, 0)

    def _mark(self, index: int, state: int) -> None:
        if index >= self._first:
            self._states[index - self._first] = state
        else:
            self._carried[index] = state

    def _check_chain(self, index: int, leaf: Leaf) -> None:
        if leaf.log != self._origin:
            refuse_entry(index, f"it belongs to the journal {leaf.log}, not to {self._origin}")
        if leaf.seq != index:
            refuse_entry(index, f"its seq is {leaf.seq}")
        if self._previous not in ("", leaf.prev):
            refuse_entry(index, "its prev is not the leaf hash of the entry before it")

    def _check_approvals(self, index: int, leaf: Leaf) -> None:
        if leaf.apr is UNSET:
            return
        for approval in leaf.apr:
            if self._approvals.get(approval.i) != approval.h:
                refuse_entry(index, f"it counts entry {approval.i}, which is no approval with this leaf hash before it")
        if len({approval.i for approval in leaf.apr}) != len(leaf.apr):
            refuse_entry(index, "it counts an approval twice")

    def _go_on(self, index: int, leaf: Leaf) -> None:
        """A recovery skips uses that lost entries may have counted. It never goes back."""
        for key in leaf.keys or ():
            if not key.kctr or not key.spki or key.kctr < self.uses.get(key.spki, 0):
                refuse_entry(index, "it sets the uses of a key back, or names one without kctr")
            self.uses[key.spki] = key.kctr

    def _count_uses(self, index: int, leaf: Leaf) -> None:
        for key in leaf.keys if leaf.keys is not UNSET else ():
            if key.kctr is UNSET or key.spki is UNSET:
                continue
            self._check_use(index, key.spki, key.kctr)
            self.uses[key.spki] = key.kctr

    def _check_use(self, index: int, spki: str, kctr: int) -> None:
        expected = self.uses.get(spki, 0) + 1
        if kctr != expected:
            refuse_entry(index, f"its kctr for key {spki[:16]} is {kctr}, {expected} is expected")

    def _close(self, index: int, leaf: Leaf, operation: str) -> Intent:
        if leaf.ref is UNSET:
            refuse_entry(index, "it names no intent")
        named = leaf.ref.i
        state = self._state(named) if named < index else 0
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
        self._mark(named, _CLOSED)
        return intent


class SparseLedger(Ledger):
    """Reads some entries of a journal, in order. What they refer to must be among them.

    counted: the key whose uses must have no gap from the first on; those of other keys only rise.
    """

    def __init__(self, origin: str, counted: str = "") -> None:
        super().__init__(origin)
        self._counted = counted
        self._last = -1

    def take(self, index: int, digest: bytes, leaf: Leaf) -> Intent | None:
        """Take an entry. Returns the intent that it closes, if it closes one."""
        if index != self._last + 1:
            self._previous = ""
        self._check_chain(index, leaf)
        self._last, self._previous = index, digest.hex()
        return self._take(index, digest, leaf)

    def _state(self, index: int) -> int:
        return self._carried.get(index, 0)

    def _mark(self, index: int, state: int) -> None:
        self._carried[index] = state

    def _check_use(self, index: int, spki: str, kctr: int) -> None:
        last = self.uses.get(spki, 0)
        if spki == self._counted:
            super()._check_use(index, spki, kctr)
        elif kctr <= last:
            refuse_entry(index, f"its kctr for key {spki[:16]} is {kctr}, more than {last} is expected")
