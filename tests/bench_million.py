"""A journal of millions of entries: how fast the door is on it, and how long a start takes.

`python -m tests.bench_million [CERTIFICATES]`, a million by default: takes some minutes and 8 GB of disk, so it is no
part of `make bench`. Adds its figures to bench-out/results.json. The journal is filled with made-up certificates under
made-up signatures, by the keyroom's own code; what is measured is real.
"""

import asyncio
import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from ceremonies.commands import IssueDevice
from ceremonies.door import Door
from ceremonies.errors import KeyroomError
from ceremonies.issuance import device_changes, load_line
from ceremonies.orders import Order, RequestKey, Reservation
from ceremonies.plans import WorkOrder
from ceremonies.process import tune_collector
from ceremonies.upkeep import Upkeep
from ceremonies.writer import Job
from hsm.keys import KeyName, Signed
from hsm.series import Box, Calm, Made
from pki.drafts import Draft, ToSign
from pki.x509.intake import TakenIn
from tests.bench import OUT, QUANTITY, STATION, Results, measure_door, open_world
from tests.bench_raw import RawSigner, raw_signer
from tests.world import World

AT_ONCE = 500
ERROR = KeyroomError("the bench filled a journal with a name twice")


class Pretender(Calm):
    """Signatures that are none, as quickly as they can be had."""

    def start(self, items: Sequence[tuple[KeyName, bytes]]) -> Made:
        """64 bytes for each item."""
        return Made([Signed(hashlib.sha512(data).digest(), None, 100) for _, data in items])


class Waiting:
    """An order and its result, without anybody who waits."""

    def __init__(self, work: Order) -> None:
        self.work = work
        self.result: object = None


def make_order(number: int, order: WorkOrder, signer: tuple[str, bytes]) -> Order:
    """The order for a made-up certificate, with all that a real one has."""
    spki, public = signer
    serial = f"BMS-{number:07}"
    key = hashlib.sha512(serial.encode()).digest() + bytes(27)
    name = hashlib.sha256(key).hexdigest()
    tbs = key + os.urandom(360)
    facts = {
        "certificate_number": f"{number + (1 << 100):x}", "class": order.class_name, "csr": name, "profile": "idevid",
        "not_after": "9999-12-31T23:59:59Z", "not_before": "2026-01-01T00:00:00Z", "serial": serial,
        "subject": f"O={order.organization}, CN={order.class_name}, serialNumber={serial}", "subject_spki": name,
        "work_order": order.id,
    }  # fmt: skip
    draft = Draft(
        "certificate.idevid", f"Issue an idevid certificate for {serial}", tbs, (ToSign(spki, tbs),), {spki: public},
        facts, lambda raws: raws[spki] + tbs + bytes(300),
    )  # fmt: skip
    command, taken = IssueDevice(order.id, serial, b""), TakenIn(tbs[:300], name, key, name, None)
    return Order(
        draft=draft, by=STATION.actor, name=serial, work_order=order.id, blobs=(tbs[:300],),
        request=RequestKey(f"order/{order.id}:{serial}:{name[:32]}", name, b'{"not_before":1,"number":"1"}'),
        reserve=(Reservation(f"serial:{serial}", ERROR), Reservation(f"device-key:{name}", ERROR)),
        changes=lambda sealed: device_changes(command, order, taken, sealed),
    )  # fmt: skip


def fill(world: World, first: int, count: int) -> None:
    """Have so many made-up certificates sealed, on the writer's thread."""
    door = world.room.door
    line = load_line(world.room, "wo-1")
    signer = (line.place.issuer.spki, line.place.issuer.public_key)
    pretending = Door(door.ledger, cast(Box, Pretender()), door.surroundings, door.keyring)
    pretending.governing = door.governing
    for start in range(first, first + count, AT_ONCE):
        jobs = [Waiting(make_order(number, line.order, signer)) for number in range(start, start + AT_ONCE)]
        pretending.finish(pretending.begin(cast(Sequence[Job[Order]], jobs)))
        if start % (AT_ONCE * 100) == first % (AT_ONCE * 100):
            print(f"filled {start - first:,} of {count:,}", flush=True)


def put(results: Results, name: str, value: float, unit: str) -> None:
    """One figure that is no rate."""
    results[name] = {"value": round(value, 3), "unit": unit}
    print(f"{name}: {value:,.3f} {unit}", flush=True)


async def measure_million(world: World, raw: RawSigner, count: int, results: Results) -> None:
    """Door empty, fill, door full, a milestone."""
    await measure_door(world, raw, results, {64: "door_64_empty"})
    await world.room.act(lambda: fill(world, QUANTITY // 2, count))
    await measure_door(world, raw, results, {64: "door_64_full"}, first=QUANTITY // 4, prepare=False)
    put(results, "million_ratio", results["door_64_full"]["value"] / results["door_64_empty"]["value"], "")
    put(results, "journal_entries", world.room.ledger.journal.size, "entries")
    await Upkeep(world.room, os._exit).keep()


def measure_start(world: World, results: Results) -> None:
    """From the database and the milestone to a keyroom that answers, tokens and all."""
    started = time.perf_counter()
    world.start()
    put(results, "start_two_million_s", time.perf_counter() - started, "s")
    world.stop()


def main(count: int) -> None:
    """Measure, print, add to the file of results."""
    results: Results = {}
    with tempfile.TemporaryDirectory(prefix="kedge-bench-") as work, raw_signer(Path(work) / "raw") as raw:
        world = open_world(Path(work) / "room")
        tune_collector()
        asyncio.run(measure_million(world, raw, count, results))
        world.stop()
        measure_start(world, results)
    OUT.mkdir(exist_ok=True)
    file = OUT / "results.json"
    known = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(known | results, indent=1) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
