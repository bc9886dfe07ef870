"""Fills a journal with device certificates through the real door: real certificates, real signatures by the token.

Made up are the certification requests only: nobody signed them, and nobody reads them. So an export of a filled journal
is one that `kedge verify` accepts in full.
"""

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any, cast

from cryptography.hazmat.primitives.asymmetric import ec

from ceremonies.commands import IssueDevice
from ceremonies.issuance import Issuance, Line, load_line
from ceremonies.jobs import Job, Unfinished
from ceremonies.numbers import draw_numbers
from ceremonies.orders import Order, Sealed
from ceremonies.pipeline import Pipeline
from ceremonies.writer import BATCH
from pki.names import DeviceSubject, read_serial_number
from pki.signatures import spki_der, spki_sha256
from pki.x509.certificates import prepare_certificate
from pki.x509.intake import Intake, TakenIn
from pki.x509.profiles import find_profile
from pki.x509.terms import Terms
from tests.bench import STATION
from tests.world import World

Told = Callable[[int, float], None]
"""How many are filled, and how many a second since the last time."""
TELLS = 10


class Waiting:
    """An order and its result, without anybody who waits."""

    def __init__(self, work: Order) -> None:
        self.work = work
        self.result: object = None


def take_made_up(line: Line, intake: Intake, key: int) -> TakenIn:
    """What a reader makes of a request: for the public key of a private one, and a request that nobody signed."""
    public_key = spki_der(ec.derive_private_key(key, ec.SECP256R1()).public_key())
    subject = DeviceSubject(line.place.organization, line.place.class_name, read_serial_number(intake.serial))
    terms = Terms(int(intake.number, 16), datetime.fromtimestamp(intake.not_before, UTC))
    prepared = prepare_certificate(find_profile(line.place.profile), subject, public_key, line.place.issuer, terms)
    der = public_key + hashlib.sha512(public_key).digest() * 3
    return TakenIn(der, hashlib.sha256(der).hexdigest(), public_key, spki_sha256(public_key), prepared)


def make_orders(world: World, numbers: Iterable[int]) -> Iterator[Waiting]:
    """An order for each device, as the issuance makes it. On the writer's thread."""
    room, stock = world.room, list[str]()
    issuance, line, base = Issuance(room), load_line(room, "wo-1"), int.from_bytes(os.urandom(24), "big")
    for number in numbers:
        stock = stock or draw_numbers(room.door.strongbox.random)
        intake = Intake(b"", f"BMS-{number:07}", stock.pop(), int(time.time()))
        taken = take_made_up(line, intake, base + number)
        command = IssueDevice("wo-1", intake.serial, b"")
        yield Waiting(issuance._order(command, STATION, line, (intake, taken)))


def fill(world: World, first: int, count: int, told: Told) -> None:
    """Have so many certificates issued, on the writer's thread, which has nothing else to do meanwhile."""
    pipeline, orders = Pipeline(world.room.door), make_orders(world, range(first, first + count))
    done, before, since = 0, 0, time.perf_counter()
    while jobs := list(islice(orders, BATCH)):
        done += check(pipeline.seal(cast(Sequence[Job[Order]], jobs)))
        if done - before >= count // TELLS:
            told(done, (done - before) / (time.perf_counter() - since))
            before, since = done, time.perf_counter()
    while jobs_done := pipeline.seal(()):
        done += check(jobs_done)
    assert done == count
    if done > before:
        told(done, (done - before) / (time.perf_counter() - since))


def check(jobs: Sequence[Job[Any]]) -> int:
    """How many are sealed and proven: each of them."""
    results = [job.result.finish() if isinstance(job.result, Unfinished) else job.result for job in jobs]
    assert all(isinstance(result, Sealed) for result in results), results[:1]
    return len(jobs)
