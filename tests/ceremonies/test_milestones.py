"""A start from a milestone knows what a start from every entry knows; what lies before it is read again later."""

import asyncio
import hashlib
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import load_pem_x509_certificate

from ceremonies.journal import JournalForked
from ceremonies.milestones import DIGEST_SIZE, Milestone, Scrub, milestone_path, read_milestone, write_milestone
from ceremonies.reckoning import check_counts
from ceremonies.replay import Replay, replay_journal
from ceremonies.store import Store, StoreUnavailable
from pki.log.merkle import Frontier
from tests.ceremonies.fielded import decommission, install, issue_some
from tests.ceremonies.revoking import revoke, turn
from tests.ceremonies.test_enrolment import enrol
from tests.engines import tamper
from tests.world import World, copy_world, issue_device, make_request

SOFTWARE = "ab" * 32


def take(world: World) -> Milestone:
    """A milestone of all that is committed."""
    return world.room.writer.run_now(lambda: Milestone(world.room.ledger.journal.frontier, world.room.ledger.replay))


def keep(world: World) -> None:
    """Write a milestone where the next start looks for it."""
    data = write_milestone(take(world), "kedge.example/journal", world.around.software)
    milestone_path(world.path / "data").write_bytes(data)


def test_a_start_from_a_milestone_knows_what_a_start_from_all_entries_knows(factory_world: World) -> None:
    world = factory_world
    asyncio.run(issue_device(world, 1, make_request()))
    keep(world)
    asyncio.run(issue_device(world, 2, make_request()))
    world.stop()
    world.start()
    ledger = world.room.ledger
    assert ledger.began is not None
    assert 0 < ledger.began.frontier.size < ledger.journal.size
    whole = world.room.writer.run_now(lambda: replay_journal(ledger.store, ledger.journal))
    assert whole == ledger.replay
    asyncio.run(issue_device(world, 3, make_request()))


@pytest.mark.req("T26", "CA-9")
def test_revocations_lists_stations_and_the_register_are_in_a_milestone(factory_world: World) -> None:
    world, key = factory_world, ec.generate_private_key(ec.SECP256R1())

    def go_on(first: str, second: str) -> None:
        asyncio.run(install(world, [first, second]))
        asyncio.run(decommission(world, first))
        revoke(world, second)
        turn(world)

    serials = asyncio.run(issue_some(world, 4))
    issued = asyncio.run(enrol(world, key))
    go_on(*serials[:2])
    keep(world)
    go_on(*serials[2:])
    revoke(world, number=f"{load_pem_x509_certificate(issued.certificate).serial_number:x}")
    world.stop()
    world.start()
    ledger = world.room.ledger
    assert ledger.began is not None
    whole = world.room.writer.run_now(lambda: replay_journal(ledger.store, ledger.journal))
    assert whole == ledger.replay
    assert (whole.register.tally.count, whole.register.gone.count, whole.revoked.count) == (4, 2, 3)
    check_counts(ledger.store, whole)


@pytest.mark.req("T26")
def test_an_older_database_than_the_milestone_does_not_start(factory_world: World, tmp_path: Path) -> None:
    """Also with its own anchor and public files: the milestone is of the longer journal."""
    factory_world.stop()
    yesterday = copy_world(factory_world, tmp_path / "yesterday")
    factory_world.start()
    asyncio.run(issue_device(factory_world, 1, make_request()))
    keep(factory_world)
    milestone_path(yesterday.path / "data").write_bytes(milestone_path(factory_world.path / "data").read_bytes())
    factory_world.stop()
    with pytest.raises(JournalForked, match="and had"):
        yesterday.start()


@pytest.mark.parametrize(
    "change",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: data.replace(b"kedge.example/journal", b"other.example/journal"),
        lambda data: data.replace(b"\xa1v\x01", b"\xa1v\x02"),
        lambda data: data.replace(SOFTWARE.encode(), SOFTWARE.encode().upper()),
    ],
)
def test_what_is_no_milestone_of_this_journal_and_software_is_left_alone(tmp_path: Path, change: object) -> None:
    assert callable(change)
    path = tmp_path / "milestone"
    assert read_milestone(path, "kedge.example/journal", SOFTWARE, 5) is None
    data = write_milestone(Milestone(Frontier(), Replay()), "kedge.example/journal", SOFTWARE)
    path.write_bytes(data)
    assert read_milestone(path, "kedge.example/journal", SOFTWARE, 5) is not None
    body = data[DIGEST_SIZE:]
    for changed in (change(data), hashlib.sha256(change(body)).digest() + change(body)):
        assert changed != data
        path.write_bytes(changed)
        assert read_milestone(path, "kedge.example/journal", SOFTWARE, 5) is None


def test_a_milestone_that_its_disk_damaged_is_left_alone(factory_world: World, tmp_path: Path) -> None:
    """Also where it would still be read: a count, a state, a name."""
    path, milestone = tmp_path / "milestone", take(factory_world)
    data = write_milestone(milestone, "kedge.example/journal", SOFTWARE)
    path.write_bytes(data)
    size = milestone.frontier.size
    assert read_milestone(path, "kedge.example/journal", SOFTWARE, size) == milestone
    for at in range(0, len(data), 7):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        assert read_milestone(path, "kedge.example/journal", SOFTWARE, size) is None


@pytest.mark.req("AU-3")
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entry SET leaf = CAST(replace(CAST(leaf AS TEXT), 'mono', 'nomo') AS BLOB) WHERE seq = 30",
        "UPDATE entry SET hash = x'00' WHERE seq = 3",
        "DELETE FROM entry WHERE seq = 7",
        "UPDATE entry SET leaf = CAST(leaf AS TEXT) WHERE seq = 30",  # SQLite keeps what it is given
    ],
)
def test_entries_before_a_milestone_are_read_again(factory_world: World, statement: str) -> None:
    milestone = take(factory_world)
    read_all(Scrub(factory_world.room.store, milestone.frontier))
    tamper(factory_world.room.store, statement)
    with pytest.raises(JournalForked, match="entr"):
        read_all(Scrub(factory_world.room.store, milestone.frontier))


def test_a_page_that_cannot_be_read_is_read_again_and_no_alarm(factory_world: World) -> None:
    store, milestone = factory_world.room.store, take(factory_world)
    scrub = Scrub(store, milestone.frontier)
    rename(store, "entry", "away")
    with pytest.raises(StoreUnavailable):
        scrub.turn()
    rename(store, "away", "entry")
    read_all(scrub)
    assert scrub.done


def test_entries_that_were_all_replaced_are_not_those_that_were_written(factory_world: World) -> None:
    """Each hash fits its leaf, and yet they do not lead to the milestone."""
    size = take(factory_world).frontier.size
    other = Frontier().extend([bytes([number % 256]) * 32 for number in range(size)])
    with pytest.raises(JournalForked, match="not those"):
        read_all(Scrub(factory_world.room.store, other))
    longer = Frontier().extend([bytes(32)] * (size + 1))
    with pytest.raises(JournalForked, match="are missing"):
        read_all(Scrub(factory_world.room.store, longer))


def rename(store: Store, table: str, name: str) -> None:
    """While it has another name, nobody can read it."""
    with store.write() as connection:
        connection.exec_driver_sql(f"ALTER TABLE {table} RENAME TO {name}")


def read_all(scrub: Scrub) -> None:
    """Turn until it is done."""
    while not scrub.done:
        scrub.turn()
