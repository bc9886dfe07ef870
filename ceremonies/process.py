"""The keyroom process: the composition root. Clocks, random numbers and the PKCS#11 module enter here alone."""

import asyncio
import contextlib
import ctypes
import gc
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path

import structlog
import uvloop

from ceremonies import entries
from ceremonies.chores import attempt, repeat
from ceremonies.cmp_protection import Protection
from ceremonies.desk import Desk
from ceremonies.devices import Devices
from ceremonies.door import Door
from ceremonies.feeds import LOOK_EVERY_S, Feeds
from ceremonies.governance import load_governing
from ceremonies.handlers import handlers
from ceremonies.journal import Journal
from ceremonies.keyring import Keyring
from ceremonies.keywork import adopt_log_key, key_entry
from ceremonies.ledger import Ledger
from ceremonies.listeners import UnsafeProduction, check_peers, open_servers, reread_peers
from ceremonies.lockout import Lockout
from ceremonies.logs import configure_log
from ceremonies.milestones import milestone_path, read_milestone
from ceremonies.orders import Actor
from ceremonies.pipeline import Pipeline
from ceremonies.public import Publisher, anchor_path, write_file
from ceremonies.readers import Readers
from ceremonies.remainders import CLOSINGS_EVERY_S, Remainders
from ceremonies.revocation import Revocation
from ceremonies.room import Room
from ceremonies.salvage import check_anchors
from ceremonies.settings import KeyroomSettings, TokenPlace
from ceremonies.software import software_sha256
from ceremonies.stamping import Stamping
from ceremonies.standby import end_when_lost, open_store
from ceremonies.stocktaking import Stocktaking, start
from ceremonies.store import Store
from ceremonies.surroundings import Surroundings
from ceremonies.tables import KeyRow
from ceremonies.tending import Tending
from ceremonies.upkeep import Upkeep
from ceremonies.witnesses import ADVANCE_EVERY_S
from ceremonies.writer import Writer
from hsm.errors import TokenExists
from hsm.inventory import compare_inventory
from hsm.pins import PinSource
from hsm.remote import RemoteStrongbox
from hsm.series import Box
from hsm.tokens import initialise_token
from hsm.wire import HUNG, Opening, Place

log = structlog.get_logger()

PUBLISH_EVERY_S = 0.5
SUPPRESSED_EVERY_S = 60
CONFIRM_EVERY_S = 1.0
UPKEEP_EVERY_S = 10
RENEW_EVERY_S = 30
SCRUB_EVERY_S = 0.2
SELF = Actor(cred="", role="keyroom", src="", sub="process")
TENDED_EVERY_S = 1.0
PROBES_EVERY_S = 3600


def surroundings() -> Surroundings:
    """The clocks, the random numbers and the identity of this machine and this software."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return Surroundings(
        now_us=lambda: time.time_ns() // 1000,
        mono_us=lambda: time.monotonic_ns() // 1000,
        entropy=os.urandom,
        boot=boot,
        software=software_sha256(),
    )


def open_strongbox(settings: KeyroomSettings) -> RemoteStrongbox:
    """Have a process of its own open every token at every place; the keyroom ends when it does (crash-only)."""
    production = settings.mode == "production"
    opening = Opening(
        tuple(place for token in settings.tokens for place in list_places(settings.module, token)),
        settings.deadline_s,
        sessions=settings.sessions,
        hardware_only=production,
        vital=(settings.token_for("journal"),),
    )
    strongbox = RemoteStrongbox(opening, end_with_tokens)
    if production and strongbox.is_software:
        strongbox.close()
        raise UnsafeProduction("the token is SoftHSM", hint="production needs a hardware token; see docs/hsm.md")
    return strongbox


def list_places(module: Path, token: TokenPlace) -> Iterator[Place]:
    """The places of a token in order of preference: itself, then its clones."""
    yield Place(token.label, module, token.label, token.pin_file, token.roles, token.serial)
    for clone in token.clones:
        label, pin_file = clone.label or token.label, clone.pin_file or token.pin_file
        yield Place(token.label, clone.module or module, label, pin_file, token.roles, clone.serial)


def end_with_tokens(status: int) -> None:
    """End the keyroom: a PKCS#11 call hung, or its library crashed. Recovery closes what was under way."""
    log.critical("the process that holds the tokens has ended; the keyroom ends", status=status)
    os._exit(HUNG)


def make_tokens(settings: KeyroomSettings) -> list[str]:
    """Make the tokens that do not exist and whose SO PIN file the settings name. Returns the labels made."""
    if settings.mode == "production":
        raise UnsafeProduction("tokens are not made in production", hint="use the vendor's tools, with witnesses")
    made = []
    for token in settings.tokens:
        if token.so_pin_file is None:
            continue
        pins = PinSource.from_file(token.so_pin_file), PinSource.from_file(token.pin_file)
        with contextlib.suppress(TokenExists):
            initialise_token(settings.module, token.label, *pins)
            made.append(token.label)
    return made


def build_room(settings: KeyroomSettings, around: Surroundings, strongbox: Callable[[], Box]) -> Room:
    """Open the store, or wait for it as standby; then, on the writer's thread, the journal and the strongbox; recover,
    check, and record the start.

    Raises what is wrong: StoreLocked, JournalForked, KeyResurrected, KeyMissing, ClockWentBack, UnsafeProduction, ...
    """
    check_peers(settings)
    for path in (settings.data, settings.spool, settings.public):
        path.mkdir(parents=True, exist_ok=True)
    rooms: list[Room] = []
    store = open_store(settings)
    readers = Readers(settings.readers)
    writer = Writer(lambda: rooms[0].pipeline)
    writer.start()
    try:
        rooms.append(writer.run_now(lambda: open_room(settings, around, strongbox, store, (writer, readers))))
    except BaseException:
        writer.stop()
        readers.close()
        raise
    return rooms[0]


def open_room(
    settings: KeyroomSettings,
    around: Surroundings,
    strongbox: Callable[[], Box],
    store: Store,
    workers: tuple[Writer, Readers],
) -> Room:
    """What `build_room` does on the writer's thread. When it fails, the database and the tokens are let go."""
    with contextlib.ExitStack() as undo:
        undo.callback(store.close)
        store.migrate()
        journal = Journal(store, around, origin=settings.origin, node=settings.node)
        path = milestone_path(settings.data)
        found = None if settings.recovery else read_milestone(path, settings.origin, around.software, journal.size)
        ledger = Ledger(store, journal, partial(write_file, anchor_path(settings)), found)
        lockout = Lockout(settings.data)
        box = lockout.open(strongbox)
        undo.callback(box.close)
        keyring = Keyring(key_entry(row) for row in store.list(KeyRow, "label"))
        door = Door(ledger, box, around, keyring)
        room = Room(settings, around, store, ledger, door, Pipeline(door), *workers)
        adopt_log_key(door)
        door.governing = load_governing(store, journal, settings)
        check_anchors(settings, door, room.anchor)
        room.witnesses.check_start()
        room.anchor.begin()
        start(door, SELF, compare_inventory, room.anchor)
        lockout.record(ledger, SELF)
        undo.pop_all()
    return room


async def serve(room: Room, source: Path) -> None:
    """Answer requests until SIGTERM or SIGINT; then finish what is under way and record the stop. SIGHUP: who is let in
    over TLS is read again from `source`, the settings file.
    """
    revocation, protection = Revocation(room), Protection(room)
    desk = Desk(room, handlers(room, revocation, protection), Devices(room).identify)
    servers, publisher = open_servers(desk, room), Publisher(room)
    upkeep = Upkeep(room, os._exit)
    feeds, stamping = Feeds(room), Stamping(room)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    loop.add_signal_handler(signal.SIGHUP, reread_peers, servers, source)
    for server in servers:
        await server.start()
    log.info("keyroom is up", socket=str(room.settings.socket), size=room.ledger.journal.size)
    chores = [
        asyncio.create_task(repeat(publisher.publish, PUBLISH_EVERY_S)),
        asyncio.create_task(repeat(desk.record_suppressed, SUPPRESSED_EVERY_S)),
        asyncio.create_task(repeat(desk.renew_keys, RENEW_EVERY_S)),
        asyncio.create_task(repeat(room.witnesses.advance, ADVANCE_EVERY_S)),
        asyncio.create_task(repeat(partial(room.act, room.store.confirm, urgent=True), CONFIRM_EVERY_S)),
        asyncio.create_task(repeat(upkeep.turn, UPKEEP_EVERY_S)),
        asyncio.create_task(repeat(upkeep.pin, room.anchor.every_s)),
        asyncio.create_task(repeat(stamping.turn, UPKEEP_EVERY_S)),
        asyncio.create_task(repeat(upkeep.scrub, SCRUB_EVERY_S)),
        *(asyncio.create_task(repeat(*chore)) for chore in (*list_chores(room), *revocation.chores, protection.chore)),
        *(asyncio.create_task(repeat(turn, LOOK_EVERY_S)) for turn in (feeds.tell, *(f.turn for f in feeds.feeds))),
    ]
    await stopping.wait()
    for server in servers:
        await server.stop()
    for chore in chores:
        chore.cancel()
    stop = partial(room.act, partial(record_stop, room.ledger))
    before = (desk.record_suppressed, revocation.last, protection.record)
    for last in (*before, stop, room.witnesses.advance, publisher.publish, upkeep.pin, upkeep.keep):
        await attempt(last)
    await attempt(partial(room.act, room.door.strongbox.close))
    room.writer.stop()
    room.readers.close()
    room.store.close()


def list_chores(room: Room) -> Iterator[tuple[Callable[[], Awaitable[object]], float]]:
    """What is done again and again about the tokens, and for closed work orders, and every how many seconds."""
    yield Remainders(room).turn, CLOSINGS_EVERY_S
    yield Stocktaking(room, compare_inventory).turn, room.settings.inventory_every_s
    tending = Tending(room, room.door.strongbox)
    yield tending.tend, TENDED_EVERY_S
    yield tending.record_probes, PROBES_EVERY_S


def record_stop(ledger: Ledger) -> None:
    """The last entry of this process."""
    ledger.record([entries.event("log.stop", SELF, {"size": ledger.journal.size})])


def limit_arenas() -> None:
    """Have the C library keep the memory of all threads in two pools (mallopt(3), M_ARENA_MAX): what a thread has
    freed in a pool of its own, nobody else gets. A C library without this has no such pools.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(-8, 2)


def tune_collector() -> None:
    """Let the garbage collector pass over what lives for ever and run less often: a batch makes thousands of values,
    none of them in a cycle, and the collector's walks took 5 to 8 % of the writer's time (docs/performance.md).
    """
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)


def run_keyroom(source: Path, settings: KeyroomSettings, *, make: bool = False) -> None:
    """Run the keyroom with the settings of a file until it is told to stop. `make`: in development, make the missing
    tokens first.
    """
    configure_log()
    limit_arenas()  # before the first thread
    if make:
        for label in make_tokens(settings):
            log.info("token made", label=label)
    room = build_room(settings, surroundings(), lambda: open_strongbox(settings))
    end_when_lost(room.store)
    tune_collector()
    uvloop.run(serve(room, source))
