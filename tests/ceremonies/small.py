"""Small parts of a keyroom: a ledger on an empty database with clocks that are told, and orders for the door."""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

from ceremonies.errors import KeyroomError
from ceremonies.finisher import finish
from ceremonies.jobs import Job
from ceremonies.journal import Journal
from ceremonies.keyring import KeyEntry
from ceremonies.ledger import Ledger
from ceremonies.orders import Actor, Order, RequestKey, Reservation, Sealed
from ceremonies.store import Store
from ceremonies.surroundings import Surroundings
from pki.drafts import Draft, ToSign
from tests.world import World

BY = Actor(cred="", role="station", src="192.0.2.7", sub="station-1")
START_US = 1_700_000_000_000_000


class Clock:
    """A wall clock and a monotonic clock, in microseconds, that go on by one at each reading."""

    def __init__(self) -> None:
        self.wall, self.mono = START_US, 1_000

    def read_wall(self) -> int:
        """The wall clock."""
        self.wall += 1
        return self.wall

    def read_mono(self) -> int:
        """The monotonic clock."""
        self.mono += 1
        return self.mono

    def surroundings(self) -> Surroundings:
        """A machine with these clocks and random bytes that repeat."""
        return Surroundings(
            self.read_wall,
            self.read_mono,
            lambda count: bytes(number % 256 for number in range(count)),
            "boot-1",
            "ab" * 32,
        )


def open_journal(store: Store, clock: Clock) -> Journal:
    """The journal of a store."""
    return Journal(store, clock.surroundings(), origin="kedge.example/journal", node="keyroom-1")


def open_ledger(url: str, clock: Clock) -> Ledger:
    """A ledger on a database, whose tables are made when they are not there."""
    store = Store(url)
    store.migrate()
    return Ledger(store, open_journal(store, clock))


class NoRoomError(KeyroomError):
    """The refusal of a reservation in these tests."""

    code = "no-room"


def make_draft(world: World, label: str, kind: str, data: bytes) -> Draft:
    """A draft of `kind` that the key `label` signs; the document is the signature."""
    key: KeyEntry = world.room.door.keyring.labelled(label)
    public = world.room.store.blob(key.spki)
    signer = {key.spki: public} if public else {}
    if not signer:
        return Draft(kind, f"sign {kind}", data, (), {}, {}, lambda raws: b"")
    return Draft(kind, f"sign {kind}", data, (ToSign(key.spki, data),), signer, {}, lambda raws: raws[key.spki])


def make_order(world: World, data: bytes, request: str = "", **more: Any) -> Order:
    """A challenge, signed by the director's key without a quorum; `request` is its idempotency key."""
    given = RequestKey(request, more.pop("body", "body"), b"{}") if request else None
    draft = more.pop("draft", None) or make_draft(world, "director", "challenge", data)
    return Order(draft=draft, by=BY, name="n", request=given, **more)


def reserve(*names: str) -> tuple[Reservation, ...]:
    """Reservations that refuse with NoRoomError."""
    return tuple(Reservation(name, NoRoomError(f"{name} is spent")) for name in names)


def seal_batch(world: World, *orders: Order) -> list[Any]:
    """Seal orders in one batch, on the writer's thread; a result or an exception for each."""

    async def run() -> list[Any]:
        jobs = [Job(order) for order in orders]
        door = world.room.door
        await world.room.act(lambda: door.finish(door.begin(jobs)))
        finish(jobs)
        return [job.result for job in jobs]

    return asyncio.run(run())


def seal(world: World, order: Order) -> Sealed:
    """Seal one order through the queue. Raises what refused it."""
    return asyncio.run(world.room.seal(order))


def act(world: World, task: Callable[[], Any]) -> Any:
    """Do something on the writer's thread."""
    return asyncio.run(world.room.act(task))


def sha256(data: bytes) -> str:
    """Lowercase hex."""
    return hashlib.sha256(data).hexdigest()


def passages(results: Sequence[Any]) -> list[str]:
    """Results in words: `sealed`, `replayed`, or the code of the error."""
    return [("replayed" if r.replayed else "sealed") if isinstance(r, Sealed) else str(r.code) for r in results]
