"""How long the end of a large order keeps others waiting: `python -m tests.bench_closing [UNITS [revoke]]`, by hand.

100,000 units by default that nobody confirmed, issued through the real door. While officers close their order, or (with
`revoke`) revoke what was issued under it, somebody has a task done on the writer's thread every 5 ms: what that waits
is what everybody waits. The floor is the same rows and entries in one commit, without reading what they follow from.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable
from pathlib import Path

from ceremonies.commands import CeremonyShown, ExecuteStep
from ceremonies.process import tune_collector
from ceremonies.remainders import CLOSER, Remainders
from ceremonies.revocation_tables import RevocationRow
from ceremonies.revocations import Grounds, revoke_changes
from ceremonies.revoked import write_number
from ceremonies.withdrawals import Withdrawn
from tests.bench import QUANTITY, open_world
from tests.bench_fill import fill
from tests.world import World

UNITS = 100_000
EVERY_S = 0.005
PLANS = {
    "work-order-close": {"work_order": "wo-1", "reason": "bench"},
    "revoke": {"work_order": "wo-1", "reason": "keyCompromise", "why": "bench"},
}


class Probe:
    """How long a task of the writer waited, each time, and how late the event loop came at most."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.waits: list[float] = []
        self.late = 0.0

    async def watch_writer(self) -> None:
        """Ask again and again."""
        while True:
            started = time.perf_counter()
            await self._world.room.act(lambda: None)
            self.waits.append(time.perf_counter() - started)
            await asyncio.sleep(EVERY_S)

    async def watch_loop(self) -> None:
        """See how late a pause ends."""
        while True:
            started = time.perf_counter()
            await asyncio.sleep(EVERY_S)
            self.late = max(self.late, time.perf_counter() - started - EVERY_S)


async def step(world: World, name: str, doing: Awaitable[object]) -> None:
    """Do one step, and say how long it took and others waited."""
    probe, started = Probe(world), time.perf_counter()
    watching = [asyncio.create_task(watch) for watch in (probe.watch_writer(), probe.watch_loop())]
    await doing
    took = time.perf_counter() - started
    await world.room.act(lambda: None)  # behind the last one
    await asyncio.sleep(EVERY_S)
    for task in watching:
        task.cancel()
    waits = sorted(probe.waits)
    print(f"{name}: {took:.2f} s; the writer's tasks waited {1000 * waits[-1]:.0f} ms at most, "
          f"{1000 * waits[len(waits) * 99 // 100]:.0f} ms (99 %); the event loop {1000 * probe.late:.0f} ms",
          flush=True)  # fmt: skip


def write_floor(world: World, units: int) -> None:
    """As many revocations of certificates that nobody has, in one commit. Writer's thread."""
    room = world.room
    ca = room.door.keyring.labelled("service-ca").spki
    made_up = [Withdrawn("", ca, write_number(at << 100)) for at in range(units)]
    words = revoke_changes(room, made_up, Grounds("unspecified"), CLOSER)
    started = time.perf_counter()
    room.ledger.commit(lambda _: words.drafts, lambda placed: (words.changes(placed), ()), settles=room.ledger.settled)
    print(f"floor: {time.perf_counter() - started:.2f} s for the commit alone", flush=True)


async def measure(world: World, units: int, action: str) -> None:
    """Fill, close or revoke, verify; then the floor."""
    await world.genesis()
    await world.open_order(quantity=QUANTITY, last=QUANTITY - 1, digits=7)
    await world.room.act(lambda: fill(world, 1, units, lambda done, rate: print(f"{done:,}: {rate:,.0f}/s")))
    await step(world, "propose", world.propose("end", action, PLANS[action]))
    await step(world, "approve", world.approve("end", "plan", "bob", "carol"))
    await step(world, "execute", world.ask(ExecuteStep("end", "plan"), "officer", CeremonyShown))
    await step(world, "what is left", Remainders(world.room).turn())
    assert world.room.ledger.replay.revoked.count == units == len(world.room.store.list(RevocationRow, "seq"))
    await world.room.act(lambda: write_floor(world, units))


def main() -> None:
    """Measure."""
    units = int(sys.argv[1]) if len(sys.argv) > 1 else UNITS
    action = "revoke" if sys.argv[2:] == ["revoke"] else "work-order-close"
    tune_collector()
    with tempfile.TemporaryDirectory(prefix="kedge-closing-") as name:
        world = open_world(Path(name))
        try:
            asyncio.run(measure(world, units, action))
        finally:
            world.stop()


if __name__ == "__main__":
    main()
