"""Orders on their way through the door: what is known of each, and the rows and blobs that follow from it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from ceremonies.claims import Verdict
from ceremonies.jobs import Job
from ceremonies.journal import Placed
from ceremonies.keyring import KeyEntry
from ceremonies.logkey import Unproven
from ceremonies.orders import Order, Sealed
from ceremonies.store import Change, Insert, Update, write_parts
from ceremonies.tables import DocumentRow, EvidenceRow, RequestRow

Follows = tuple[list[Change], list[bytes]]
"""Rows and blobs that go with entries."""


class Passage:
    """One order on its way through the door."""

    __slots__ = (
        "counted", "document", "error", "first", "intent", "job", "keys", "order", "out", "sha256", "signatures",
        "verdict",
    )  # fmt: skip

    def __init__(self, job: Job[Order]) -> None:
        self.job = job
        self.order = job.work
        self.keys: list[KeyEntry] = []
        self.counted: tuple[Mapping[str, Any], ...] = ()
        self.verdict: Verdict | None = None
        self.first: Passage | None = None
        self.error: Exception | None = None
        self.intent: Placed | None = None
        self.signatures: list[bytes] = []
        self.document = b""
        self.sha256 = ""
        self.out: dict[str, Any] = {}


class SignatureMade(Protocol):
    """A raw signature or why there is none, and the microseconds that it took."""

    @property
    def raw(self) -> bytes:
        """R || s, or the 64 bytes of Ed25519."""

    @property
    def error(self) -> Exception | None:
        """Why there is none."""

    @property
    def us(self) -> int:
        """How long it took."""


class Signatures(Protocol):
    """Signatures that are made, or under way."""

    def wait(self) -> Sequence[SignatureMade]:
        """All of them, in the order of passages and, within one, of `to_sign`."""


class Batch(msgspec.Struct):
    """Passages whose intents are durable. base: the journal's size before them. signing: of those that go on."""

    passages: Sequence[Passage]
    base: int
    going: Sequence[Passage] = ()
    signing: Signatures | None = None

    @property
    def requests(self) -> set[str]:
        """The idempotency keys that are under way."""
        return {passage.order.request.id for passage in self.going if passage.order.request}


def attempt(passage: Passage, step: Callable[[Passage], None]) -> None:
    """Do one step of a passage. Whatever goes wrong is the error of this passage and of no other in its batch."""
    try:
        step(passage)
    except Exception as error:  # noqa: BLE001  # an order that nobody foresaw must not fail its neighbours
        passage.error = error


def repeat(result: object) -> object:
    """The same answer for a request that came twice in one batch."""
    if isinstance(result, Unproven):
        return Unproven(msgspec.structs.replace(result.sealed, replayed=True), result.path, result.log_key, result.head)
    return msgspec.structs.replace(result, replayed=True) if isinstance(result, Sealed) else result


def intent_blobs(order: Order) -> tuple[bytes, ...]:
    """What an auditor needs to check an intent: the draft's statement, the bytes to sign, what came with it."""
    return (order.draft.statement, *(item.data for item in order.draft.to_sign), *order.blobs)


def keep(order: Order, seq: int, blobs: Iterable[bytes], follows: Follows) -> None:
    """Keep the blobs of entry `seq`: of bulk work by their entry, of everything else by their digest."""
    changes, kept = follows
    if order.work_order is None:
        kept += blobs
    else:
        changes.append(Insert(EvidenceRow, {"seq": seq, "parts": write_parts(blobs)}))


def outcome_changes(order: Order, sealed: Sealed) -> list[Change]:
    """The rows of a sealed document."""
    row = {"sha256": sealed.sha256, "seq": sealed.seq, "kind": order.draft.kind, "name": order.name}
    changes: list[Change] = [Insert(DocumentRow, row)]
    if order.request is not None:
        done = {"outcome": sealed.seq, "document": sealed.sha256}
        changes.append(Update(RequestRow, {"id": order.request.id}, done))
    return changes + (list(order.changes(sealed)) if order.changes else [])
