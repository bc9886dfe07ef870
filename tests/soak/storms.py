"""Storms: a keyroom under load is killed again and again; after each start its journal is judged.

`storm` is used by tests/scenarios/test_storm.py in a short form, and a hundred times by `make soak`.
"""

import asyncio
import random
import subprocess
import time
from collections import Counter
from typing import Any

from hsm.wire import HUNG
from tests.soak.audit import Audit, reader
from tests.soak.crowd import ORDER, Crowd
from tests.soak.plant import READER, WARDEN, Plant, Trap
from tests.soak.trapped import OF_KEYS, POINTS
from tests.world import World

CALLERS = 24
NAMED = tuple(POINTS)[1:]
RANDOM = ("", WARDEN, READER)
ROUND = len(NAMED) + len(RANDOM)
FEW, MANY = 30, 90
PATIENCE_S = 60.0
"""A point of a ceremony is met when the officers come to it."""
SIGKILLED = -9


def open_storm(template: World, quantity: int = 90_000_000) -> World:
    """A stopped world with a work order for any number of devices."""
    world = template.start()
    asyncio.run(world.open_order(ORDER, quantity=quantity, last=99_999_999, digits=8))
    world.stop()
    return world


def list_kills(count: int, chance: random.Random) -> list[Trap | str]:
    """Rounds of every named point and every kind of process, each round in another order; as many kills as asked."""
    killed: list[Trap | str] = []
    while len(killed) < count:
        named = [Trap(point, 1 if point in OF_KEYS else chance.randint(1, 60)) for point in NAMED]
        killed += chance.sample([*named, *RANDOM], ROUND)
    return killed[:count]


def storm(world: World, kills: list[Trap | str], chance: random.Random) -> dict[str, Any]:
    """Kill as listed, and judge the journal after each start. Returns figures, and the audit as `audit`."""
    plant, audit = Plant(world), Audit(reader(world))
    met: Counter[str] = Counter()
    crowd = Crowd(world, CALLERS)
    begun = time.monotonic()
    try:
        for kill in [*kills, None]:
            up = plant.start(kill if isinstance(kill, Trap) else Trap()).wait_up()
            if up:
                plant.check_nothing_left()
                judge(audit, crowd)
            if kill is not None:
                hit = strike(plant, crowd, kill, chance)
                met[hit] += 1
                print(f"{sum(met.values())}: {hit}, {len(crowd.issued)} issued", flush=True)
        crowd.wait_more(FEW)
        crowd.stop()
        assert plant.end() == 0
    finally:
        plant.kill()
        crowd.stop()
    plant.check_nothing_left()
    judge(audit, crowd)
    audit.check_sums()
    audit.check_names(crowd.issued)
    return {
        "kills": sum(met.values()), "points": dict(sorted(met.items())), "seconds": round(time.monotonic() - begun),
        "issued": len(crowd.issued), "repeated": crowd.repeated, "ceremonies": len(crowd.held), "entries": audit.size,
        "unknown": audit.types["key.sign.unknown"], "late": audit.late, "waits": dict(crowd.waits),
        "slowest_start_s": max(plant.start_s), "slowest_suspend_s": max(crowd.suspend_s, default=0.0), "audit": audit,
    }  # fmt: skip


def strike(plant: Plant, crowd: Crowd, kill: Trap | str, chance: random.Random) -> str:
    """Have the plant killed where the trap says, or at a time that nobody chose. Returns what was hit."""
    if isinstance(kill, Trap):
        try:
            assert plant.wait_end(PATIENCE_S) == SIGKILLED, plant.log.read_text()
        except subprocess.TimeoutExpired:
            plant.kill()
            plant.wait_end()
            return f"not met: {kill.point}"
        return kill.point
    crowd.wait_more(chance.randint(1, MANY))
    plant.kill(kill)
    if kill == READER:  # the keyroom goes on with another
        crowd.wait_more(FEW)
        plant.kill()
    assert plant.wait_end() == (HUNG if kill == WARDEN else SIGKILLED), plant.log.read_text()
    return f"killed {kill or 'keyroom'}"


def judge(audit: Audit, crowd: Crowd) -> None:
    """What clients have received until now stands in the journal, and the journal is whole."""
    received = list(crowd.issued.values())
    audit.catch_up().check_released(received)
