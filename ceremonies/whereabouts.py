"""Where devices are after the factory: states, what leads from one to the next, and what the journal says of them all.

Rows are compared with the journal by their number and by a sum that does not depend on their order (`ceremonies.sums`).
A statement's entry names the digest of the row before it, so the sum follows without the row.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

import msgspec

from ceremonies.errors import KeyroomError
from ceremonies.sums import Tally, tally_digests

State = Literal["issued", "shipped", "installed", "replaced", "returned", "decommissioned"]
Act = Literal["ship", "install", "move", "replace", "return", "decommission"]

BATCH: Final = "device.batch"
IMPORT: Final = "device.import"

WAYS: Final[Mapping[Act, tuple[tuple[State, ...], State]]] = {
    "ship": (("issued", "returned"), "shipped"),
    "install": (("shipped",), "installed"),
    "move": (("installed",), "installed"),
    "replace": (("installed",), "replaced"),
    "return": (("shipped", "installed", "replaced"), "returned"),
    "decommission": (("issued", "shipped", "installed", "replaced", "returned"), "decommissioned"),
}
"""From which states an act leads where. What is not here is refused."""


class StateRefused(KeyroomError):
    """The device is in a state from which this act leads nowhere."""

    code = "state-refused"


class Whereabouts(msgspec.Struct, frozen=True):
    """A device by its last statement. `link`: the serial that it replaces or is replaced by; `since_us`: when."""

    serial: str
    state: State
    operator: str = ""
    site: str = ""
    rack: str = ""
    asset: str = ""
    link: str = ""
    since_us: int = 0

    @property
    def digest(self) -> str:
        """Lowercase hex SHA-256; no field holds a NUL."""
        text = "\0".join(map(str, msgspec.structs.astuple(self)))
        return hashlib.sha256(text.encode()).hexdigest()


class Register(msgspec.Struct):
    """What the entries say: the tally of all rows, that of the decommissioned, and how many requests were answered.

    left: the newest statement (its entry's index) of each device that ever left a place. An older row of it is true to
    its own entry, and would put the device back where it was.
    """

    tally: Tally = msgspec.field(default_factory=Tally)
    gone: Tally = msgspec.field(default_factory=Tally)
    requests: int = 0
    left: dict[str, int] = msgspec.field(default_factory=dict)

    def take(self, kind: str, seq: int, what: Mapping[str, Any]) -> None:
        """Follow a `device.*` entry."""
        if kind == BATCH:
            self.requests += 1
        elif kind.partition(".")[2] in WAYS:
            row = read_facts(what)
            if what["from"] == "installed" or row.serial in self.left:
                self.left[row.serial] = seq
            self.tally = self.tally.put(row.digest, what.get("was", ""))
            if row.state == "decommissioned":  # for good: no statement follows
                self.gone = self.gone.put(row.digest)


def follow_way(act: Act, now: Whereabouts) -> State:
    """The state after an act. Raises StateRefused, which names the state that the device is in."""
    sources, state = WAYS[act]
    if now.state not in sources:
        raise StateRefused(
            f"{now.serial} is {now.state}: {act} is for a device that is {' or '.join(sources)}",
            hint="look at the device with `kedge fleet query --serial`",
        )
    return state


def list_facts(now: Whereabouts, before: Whereabouts) -> dict[str, Any]:
    """`op.what` of a statement; what is empty is left out. `was` is absent on the first statement of a device."""
    facts = {name: value for name, value in msgspec.to_builtins(now).items() if value}
    was = {"was": before.digest} if before.since_us else {}
    return {**facts, "from": before.state, **was}


def read_facts(what: Mapping[str, Any]) -> Whereabouts:
    """The row that a statement's `op.what` says."""
    return Whereabouts(**{name: what[name] for name in Whereabouts.__struct_fields__ if name in what})


def tally_rows(rows: Iterable[Whereabouts]) -> Tally:
    """Count and sum of rows as they are."""
    return tally_digests(bytes.fromhex(row.digest) for row in rows)
