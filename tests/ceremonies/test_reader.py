"""A reader: what it answers, what it keeps of places, and that it knows and holds nothing else."""

import socket
import threading

import msgspec
import pytest

from ceremonies import reader as module
from ceremonies.reader import LENGTH, Ask, Refused, Taken, answer, serve
from pki.x509.errors import PemMalformed
from pki.x509.intake import Intake, Place
from tests.ceremonies.test_readers import NUMBER, find_place, make_intake
from tests.world import World, make_request

ANSWERS = msgspec.msgpack.Decoder(list[Taken | Refused])


def exchange(connection: socket.socket, asks: list[Ask]) -> list[Taken | Refused]:
    """One frame there, one back."""
    body = msgspec.msgpack.encode(asks)
    connection.sendall(LENGTH.pack(len(body)) + body)
    with connection.makefile("rb") as stream:
        (length,) = LENGTH.unpack(stream.read(LENGTH.size))
        return ANSWERS.decode(stream.read(length))


def test_a_request_is_taken_or_refused_with_the_code_of_the_rule(factory_world: World) -> None:
    place = find_place(factory_world)
    (taken,) = answer([Ask(make_intake(), 0, place)], {})
    assert isinstance(taken, Taken)
    assert taken.value.prepared is not None
    (refused,) = answer([Ask(make_intake(b"-----BEGIN nothing"), 0, place)], {})
    assert isinstance(refused, Refused)
    assert refused.code in (PemMalformed.code, "request-malformed")
    assert refused.message


def test_what_is_wrong_with_the_request_is_said_before_what_is_wrong_with_its_terms(factory_world: World) -> None:
    """Malformed request, then certificate number; each refusal is the same with and without the later faults."""
    place = find_place(factory_world)
    both = Intake(b"nothing", "BMS-000001", "0", 1_800_000_000)
    number = Intake(make_request(), "BMS-000001", "0", 1_800_000_000)
    answers = answer([Ask(item, 0, place) for item in (both, number)], {})
    codes = [found.code for found in answers if isinstance(found, Refused)]
    assert codes == ["request-malformed", "certificate-number-refused"]
    (only_read,) = answer([Ask(number)], {})
    assert isinstance(only_read, Taken)
    assert only_read.value.prepared is None


def test_a_place_is_told_once_and_a_number_that_was_not_told_prepares_nothing(factory_world: World) -> None:
    places: dict[int, Place] = {}
    place = find_place(factory_world)
    first, again, unknown = answer([Ask(make_intake(), 3, place), Ask(make_intake(), 3), Ask(make_intake(), 4)], places)
    assert places == {3: place}
    prepared = [item.value.prepared is not None for item in (first, again, unknown) if isinstance(item, Taken)]
    assert prepared == [True, True, False]


def test_the_answers_come_in_order_and_it_ends_with_its_socket(factory_world: World) -> None:
    place = find_place(factory_world)
    ours, theirs = socket.socketpair()
    thread = threading.Thread(target=serve, args=(theirs,))
    thread.start()
    with ours:
        found = exchange(ours, [Ask(make_intake(), 0, place), Ask(make_intake(b"x")), Ask(make_intake(), 0)])
        assert [type(item) for item in found] == [Taken, Refused, Taken]
        assert [type(item) for item in exchange(ours, [Ask(make_intake(), 0)])] == [Taken]
        assert exchange(ours, []) == []
    thread.join(5)
    assert not thread.is_alive()


@pytest.mark.parametrize("rest", [b"", b"\x00\x00"])
def test_a_frame_that_never_began_ends_the_reader(rest: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours:
        ours.sendall(rest)
    serve(theirs)
    assert theirs.fileno() == -1


def test_half_a_frame_is_not_answered() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        ours.sendall(LENGTH.pack(9) + b"\x92\x90")
        ours.shutdown(socket.SHUT_WR)
        with pytest.raises(msgspec.MsgspecError):
            serve(theirs)
        assert ours.recv(1) == b""


def test_a_number_has_the_form_that_the_keyroom_draws() -> None:
    assert 1 << 64 <= int(NUMBER, 16) < 1 << 159
    assert module.FRAME_LIMIT == 64 << 20
