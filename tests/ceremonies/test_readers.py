"""Readers: batches, a process that dies or talks nonsense, what it is told, and what it inherits."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from structlog.testing import capture_logs

from ceremonies import readers as module
from ceremonies.issuance import load_line
from ceremonies.reader import LENGTH, Refused, Taken
from ceremonies.readers import Reader, ReaderEnded, Readers, error_kinds, hand_out, read_error
from pki.errors import KeyUnsupported
from pki.names import NameMalformed
from pki.x509.errors import CertificateNumberRefused, ChainInvalid, LintFailed, RequestMalformed, X509Error
from pki.x509.intake import Intake, Place, TakenIn, take_in
from tests.ceremonies.small import act
from tests.world import World, copy_world, issue_device, make_request

NUMBER = "1" + "0" * 38


def make_intake(csr: bytes | None = None) -> Intake:
    """A request for BMS-000001."""
    return Intake(make_request() if csr is None else csr, "BMS-000001", NUMBER, 1_800_000_000)


def find_place(world: World) -> Place:
    """Where wo-1 gets its certificates."""
    place: Place = act(world, lambda: load_line(world.room, "wo-1")).place
    return place


def with_readers(count: int, task: Callable[[Readers], Coroutine[Any, Any, None]]) -> None:
    """Do something with this many processes."""

    async def run() -> None:
        readers = Readers(count)
        try:
            await asyncio.wait_for(task(readers), 60)
        finally:
            readers.close()
            await asyncio.sleep(0)

    asyncio.run(run())


def make_places(place: Place, count: int) -> list[Place]:
    """Places that differ."""
    return [Place(place.profile, f"Acme {number}", place.class_name, place.issuer) for number in range(count)]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_process_answers_as_the_rule_book_does(factory_world: World, count: int) -> None:
    place = find_place(factory_world)

    async def task(readers: Readers) -> None:
        asked = [make_intake() for _ in range(40)]
        found = await asyncio.gather(*(readers.take_in(intake, place) for intake in asked))
        assert found == [take_in(intake, place) for intake in asked]
        assert await readers.take_in(asked[0], None) == take_in(asked[0], None)
        with pytest.raises(RequestMalformed) as refused:
            await readers.take_in(make_intake(b"x"), place)
        assert refused.value.code == RequestMalformed.code
        with pytest.raises(CertificateNumberRefused) as number:
            await readers.take_in(Intake(make_request(), "BMS-000001", "0", 1_800_000_000), place)
        assert number.value.code == CertificateNumberRefused.code

    with_readers(count, task)


def test_requests_that_wait_are_shared_among_the_readers(factory_world: World) -> None:
    place, csr = find_place(factory_world), make_request()

    async def task(readers: Readers) -> None:
        waiting = [asyncio.create_task(readers.take_in(make_intake(csr), place)) for _ in range(4 * module.FRAME)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert [reader.load for reader in readers._readers] == [2 * module.FRAME] * 2
        assert [[len(part) for part in reader.asked] for reader in readers._readers] == [[module.FRAME] * 2] * 2
        await asyncio.gather(*waiting)
        assert [reader.load for reader in readers._readers] == [0, 0]

    with_readers(2, task)


@pytest.mark.req("HS-9")
def test_a_killed_reader_refuses_what_it_had_and_the_next_request_works(factory_world: World) -> None:
    place = find_place(factory_world)

    async def task(readers: Readers) -> None:
        await readers.take_in(make_intake(), place)
        before = readers._readers[0].process
        os.kill(before.pid, signal.SIGSTOP)  # it takes what it is sent, and answers nothing
        waiting = [asyncio.create_task(readers.take_in(make_intake(), place)) for _ in range(module.FRAME + 3)]
        await asyncio.sleep(0.05)
        os.kill(before.pid, signal.SIGKILL)
        found = await asyncio.gather(*waiting, return_exceptions=True)
        assert {type(item) for item in found} == {ReaderEnded}
        assert readers._readers[0].process.pid != before.pid
        intake = make_intake()
        assert await readers.take_in(intake, place) == take_in(intake, place)

    with capture_logs() as logged:
        with_readers(1, task)
    assert [entry["event"] for entry in logged] == ["a reader has ended"]


GARBAGE = {
    "no message": LENGTH.pack(3) + b"\xc1\xc1\xc1",
    "another type": LENGTH.pack(1) + b"\x05",
    "too few answers": LENGTH.pack(1) + b"\x90",
    "too long": b"\xff\xff\xff\xff",
    "half a frame": LENGTH.pack(9) + b"\x90",
}


@pytest.mark.parametrize("name", GARBAGE)
def test_a_reader_that_talks_nonsense_is_replaced(
    factory_world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A program in its place that answers the first frame with garbage and ends."""
    place, garbage, real = find_place(factory_world), GARBAGE[name], subprocess.Popen
    started: list[Any] = []

    def start(command: list[str], **more: Any) -> Any:
        said = f"import os; os.read(0, 1 << 20); os.write(0, {garbage!r})"
        started.append(real([sys.executable, "-c", said] if not started else command, **more))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", start)

    async def task(readers: Readers) -> None:
        with pytest.raises(ReaderEnded):
            await readers.take_in(make_intake(), place)
        intake = make_intake()
        assert await readers.take_in(intake, place) == take_in(intake, place)

    with_readers(1, task)
    assert len(started) == 2
    assert all(process.returncode is not None for process in started)


@pytest.mark.req("HS-9")
def test_when_no_reader_can_be_started_nobody_waits_for_ever(
    factory_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No file, process or memory is left for a while: requests are refused, until there is a reader again."""
    place, real = find_place(factory_world), subprocess.Popen

    def refuse(*_: object, **__: object) -> None:
        raise OSError(24, "Too many open files")

    async def task(readers: Readers) -> None:
        await readers.take_in(make_intake(), place)
        monkeypatch.setattr(subprocess, "Popen", refuse)
        os.kill(readers._readers[0].process.pid, signal.SIGKILL)
        for _ in range(3):
            with pytest.raises(ReaderEnded):
                await asyncio.wait_for(readers.take_in(make_intake(), place), 5)
        monkeypatch.setattr(subprocess, "Popen", real)
        intake = make_intake()
        assert await readers.take_in(intake, place) == take_in(intake, place)

    with_readers(1, task)


@pytest.mark.req("HS-9")
def test_a_hostile_request_harms_no_other_of_its_frame(factory_world: World) -> None:
    """Each gets its own answer, from the same process, whatever it sent."""
    place = find_place(factory_world)
    feature = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.5.5.7.1.24"), bytes.fromhex("3003020163"))
    bad = (b"", b"x" * 20_000, b"-----BEGIN \xff", make_request()[:-40], make_request(feature=feature))

    async def task(readers: Readers) -> None:
        process = readers._readers[0].process
        asked = [make_intake(csr) for pair in zip(bad, (make_request() for _ in bad), strict=True) for csr in pair]
        found = await asyncio.gather(*(readers.take_in(item, place) for item in asked), return_exceptions=True)
        assert found[1::2] == [take_in(item, place) for item in asked[1::2]]
        assert all(isinstance(item, X509Error) for item in found[::2])
        assert readers._readers[0].process is process

    with_readers(1, task)


@pytest.mark.req("CA-1")
def test_a_request_that_cannot_be_sent_shifts_no_answers(factory_world: World) -> None:
    """Such as a number that no message holds: nobody gets what another one asked for."""
    place = find_place(factory_world)

    async def task(readers: Readers) -> None:
        await readers.take_in(make_intake(), place)
        odd = asyncio.create_task(readers.take_in(Intake(make_request(), "BMS-000001", NUMBER, 1 << 70), place))
        await asyncio.sleep(0.05)
        for _ in range(2):
            intake = make_intake()
            assert await asyncio.wait_for(readers.take_in(intake, place), 5) == take_in(intake, place)
        with pytest.raises(ReaderEnded):
            await asyncio.wait_for(odd, 5)

    with_readers(1, task)


def test_an_answer_too_many_is_nonsense() -> None:
    with pytest.raises(ValueError, match="1 answers to 0"):
        hand_out([], [Taken(TakenIn(b"", "", b"", "", None))])


def test_places_are_told_anew_when_a_reader_knows_too_many(
    factory_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody gets the certificate of another order, before and after the numbers begin again."""
    monkeypatch.setattr(module, "PLACES", 3)
    places, csr = make_places(find_place(factory_world), 8), make_request()

    async def task(readers: Readers) -> None:
        asked = [places[number] for number in (0, 1, 2, 0, 3, 4, 5, 0, 6, 7, 0, 1)]
        found = await asyncio.gather(*(readers.take_in(make_intake(csr), place) for place in asked))
        assert found == [take_in(make_intake(csr), place) for place in asked]
        assert len(readers._readers[0].places) <= 3

    with_readers(1, task)


def test_a_place_is_told_with_its_first_request_only(factory_world: World) -> None:
    places = make_places(find_place(factory_world), module.PLACES + 1)
    reader = Reader()
    try:
        intake = make_intake(b"")
        asks = [reader.ask(intake, place) for place in (*places[:2], places[0], *places[2:], places[0])]
        assert [ask.place for ask in asks[:3]] == [0, 1, 0]
        assert [ask.given is not None for ask in asks[:3]] == [True, True, False]
        assert [(ask.place, ask.given is not None) for ask in asks[-3:]] == [(255, True), (0, True), (1, True)]
        assert reader.ask(intake, None).place == -1
    finally:
        reader.end()


@pytest.mark.req("HS-5")
def test_a_reader_inherits_no_environment_and_no_file(
    factory_world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KEDGE_SECRET", "1234")

    async def task(readers: Readers) -> None:
        await readers.take_in(make_intake(), None)  # it is up
        process = Path(f"/proc/{readers._readers[1].process.pid}")
        assert (process / "environ").read_bytes() == b""
        assert b"1234" not in (process / "cmdline").read_bytes()
        sockets = [str(item.readlink()) for item in (process / "fd").iterdir()]
        assert len([name for name in sockets if name.startswith("socket:")]) <= 2  # its own, once or as two numbers
        assert not any("kedge.db" in name or "pin" in Path(name).name for name in sockets)

    async def both(readers: Readers) -> None:
        await asyncio.gather(*(readers.take_in(make_intake(), None) for _ in range(2 * module.FRAME)))
        await task(readers)

    with_readers(2, both)


def is_running(pid: int) -> bool:
    """Whether the process is there, and no mere entry that waits to be collected."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


@pytest.mark.req("T27")
@pytest.mark.parametrize("used", [False, True])
def test_the_processes_end_with_the_keyroom(*, used: bool) -> None:
    """Killed, it closes nothing itself; its readers see the end of their sockets."""
    lines = [
        "import asyncio, time",
        "from ceremonies.readers import Readers",
        "from pki.x509.intake import Intake",
        "async def run():",
        "    readers = Readers(2)",
        "    asked = [readers.take_in(Intake(b'x', 'S', '1', 1), None) for _ in range(32)]",
        f"    if {used}: await asyncio.gather(*asked, return_exceptions=True)",
        "    print(*(reader.process.pid for reader in readers._readers), flush=True)",
        "    time.sleep(60)",
        "asyncio.run(run())",
    ]
    root = Path(__file__).parents[2]
    with subprocess.Popen([sys.executable, "-c", "\n".join(lines)], stdout=subprocess.PIPE, cwd=root) as keyroom:
        assert keyroom.stdout is not None
        pids = [int(word) for word in keyroom.stdout.readline().split()]
        keyroom.kill()
    deadline = time.monotonic() + 20
    while any(map(is_running, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(pids) == 2
    assert not any(map(is_running, pids))


def test_close_ends_the_processes() -> None:
    readers = Readers(2)
    readers.close()
    assert all(reader.process.returncode is not None for reader in readers._readers)


@pytest.mark.req("CA-1")
def test_devices_get_their_certificates_through_a_reader(factory_template: World, tmp_path: Path) -> None:
    world = copy_world(factory_template, tmp_path / "world")
    world.readers = 1
    world.start()

    async def run() -> None:
        csrs = [make_request() for _ in range(6)]
        first = await asyncio.gather(*(issue_device(world, at, csr) for at, csr in enumerate(csrs, 1)))
        world.room.readers._readers[0].process.kill()
        world.room.readers._readers[0].process.wait()
        await asyncio.sleep(0.05)
        again = await asyncio.gather(*(issue_device(world, at, csr) for at, csr in enumerate(csrs, 1)))
        assert [item.certificate for item in again] == [item.certificate for item in first]
        assert all(item.replayed for item in again)
        world.room.readers.close()  # while its loop is there
        await asyncio.sleep(0)

    asyncio.run(run())
    world.stop()


def test_every_error_of_a_request_arrives_as_itself() -> None:
    """All that reading a request and preparing its certificate can raise."""
    kinds = [kind for kind in error_kinds().values() if issubclass(kind, X509Error | NameMalformed | KeyUnsupported)]
    assert {ChainInvalid, LintFailed, NameMalformed, KeyUnsupported} < set(kinds)
    for kind in kinds:
        found = read_error(Refused(kind.code, "what happened", "what to do"))
        assert (type(found), found.message, found.hint) == (kind, "what happened", "what to do")
    with pytest.raises(LookupError):
        read_error(Refused("no-such-rule", "", ""))


def test_close_answers_who_waits_still() -> None:
    """Those whose request a reader has, and those whose request was not sent yet."""

    async def run() -> None:
        readers = Readers(1)
        (reader,) = readers._readers
        os.kill(reader.process.pid, signal.SIGSTOP)  # it reads, and never answers
        asked = [asyncio.create_task(readers.take_in(make_intake(), None)) for _ in range(3)]
        await asyncio.sleep(0.1)
        late = asyncio.create_task(readers.take_in(make_intake(), None))
        await asyncio.sleep(0)
        readers.close()
        found = await asyncio.wait_for(asyncio.gather(*asked, late, return_exceptions=True), 5)
        assert [type(item) for item in found] == [ReaderEnded] * 4

    asyncio.run(run())


def test_a_reader_that_never_answers_is_replaced(factory_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for it for ever: its callers hold slots that others need, also to stop a key."""
    monkeypatch.setattr(module, "ANSWER_S", 2.5)
    place = find_place(factory_world)

    async def task(readers: Readers) -> None:
        await readers.take_in(make_intake(), place)
        first = readers._readers[0]
        os.kill(first.process.pid, signal.SIGSTOP)
        with pytest.raises(ReaderEnded):
            await asyncio.wait_for(readers.take_in(make_intake(), place), 20)
        assert readers._readers[0] is not first
        await readers.take_in(make_intake(), place)
        assert len(readers._tasks) <= 2 * len(readers._readers)

    with_readers(1, task)
