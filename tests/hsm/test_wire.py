"""Frames between the keyroom and the process of its tokens."""

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from hsm import errors, wire
from hsm.errors import CallFailed, HsmError, PinIncorrect, RequestInvalid
from hsm.wire import (
    FRAME_LIMIT,
    LENGTH,
    Ask,
    Done,
    Failed,
    Opening,
    Place,
    describe_error,
    read_error,
    receive,
    send,
    send_and_receive,
)

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.settimeout(10)
        yield ours, theirs


def test_messages_pass_in_their_order(pair: Pair) -> None:
    ours, theirs = pair
    place = Place("keys", Path("/usr/lib/module.so"), "label", Path("/run/keys.pin"), ("oem-root",), "4711")
    opening = Opening((place,), 2.5, sessions=3, hardware_only=True, vital=("journal",))
    ask = Ask(7, "random", msgspec.Raw(msgspec.msgpack.encode((8,))))
    send(ours, opening)
    send(ours, ask)
    first, second = receive(theirs), receive(theirs)
    assert first and second
    assert msgspec.msgpack.decode(first, type=Opening, dec_hook=wire.read_name) == opening
    assert msgspec.msgpack.decode(second, type=Ask) == ask


def test_an_answer_is_a_value_or_a_failure(pair: Pair) -> None:
    ours, theirs = pair
    sent: list[Done | Failed] = [Done(msgspec.Raw(b"\xc0"), 3), Failed("KeyNotFound", "gone", "look", "", 4)]
    for reply in sent:
        send(ours, reply)
        body = receive(theirs)
        assert body
        assert msgspec.msgpack.decode(body, type=Done | Failed) == reply


def test_a_closed_end_gives_no_message(pair: Pair) -> None:
    ours, theirs = pair
    ours.close()
    assert receive(theirs) is None


@pytest.mark.parametrize("half", [b"\0", b"\0\0\0", LENGTH.pack(5), LENGTH.pack(5) + b"four"])
def test_half_a_frame_gives_no_message(pair: Pair, half: bytes) -> None:
    ours, theirs = pair
    ours.sendall(half)
    ours.close()
    assert receive(theirs) is None


def test_a_frame_in_pieces_is_one_message(pair: Pair) -> None:
    ours, theirs = pair
    frame = LENGTH.pack(3) + b"abc"

    def dribble() -> None:
        for at in range(len(frame)):
            ours.sendall(frame[at : at + 1])
            time.sleep(0.005)

    sender = threading.Thread(target=dribble)
    sender.start()
    assert receive(theirs) == b"abc"
    sender.join(10)


def test_a_frame_over_the_limit_is_not_received(pair: Pair) -> None:
    ours, theirs = pair
    ours.sendall(LENGTH.pack(FRAME_LIMIT + 1) + b"rest")
    assert receive(theirs) is None
    assert theirs.recv(16) == b"rest"


def test_a_frame_over_the_limit_is_not_sent(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pair
    body = msgspec.msgpack.encode(bytes(50))
    monkeypatch.setattr(wire, "FRAME_LIMIT", len(body))
    send(ours, bytes(50))
    with pytest.raises(RequestInvalid, match=f"a message of {len(body) + 1} bytes"):
        send(ours, bytes(51))
    ours.close()
    assert receive(theirs) == body
    assert receive(theirs) is None


def test_what_comes_while_a_message_cannot_be_sent_is_received(pair: Pair) -> None:
    """The other end sends first and reads later, as ours does."""
    ours, theirs = pair
    large, got = bytes(4 << 20), list[bytes | None]()

    def exchange() -> None:
        send(theirs, large)
        got.append(receive(theirs))

    other = threading.Thread(target=exchange)
    other.start()
    (received,) = send_and_receive(ours, large)
    other.join(10)
    assert [received] == got == [msgspec.msgpack.encode(large)]


def test_nothing_is_received_when_a_message_can_be_sent(pair: Pair) -> None:
    ours, theirs = pair
    send(theirs, "question")
    assert send_and_receive(ours, "answer") == []
    assert receive(theirs) == msgspec.msgpack.encode("answer")
    assert receive(ours) == msgspec.msgpack.encode("question")


def test_nothing_is_sent_to_an_end_that_is_closed(pair: Pair) -> None:
    ours, theirs = pair
    theirs.shutdown(socket.SHUT_WR)
    assert send_and_receive(ours, bytes(4 << 20)) == [None]


def leaves(kind: type[HsmError]) -> Iterator[type[HsmError]]:
    yield kind
    for leaf in kind.__subclasses__():
        if leaf.__module__ == errors.__name__:
            yield from leaves(leaf)


@pytest.mark.parametrize("kind", list(leaves(HsmError)))
@pytest.mark.parametrize("rv", ["", "CKR_DEVICE_REMOVED"])
def test_an_error_arrives_as_it_was(kind: type[HsmError], rv: str) -> None:
    error = kind("what happened", hint="what to do", rv=rv, details={"retry_after": 7})
    body = msgspec.msgpack.encode(describe_error(error, 9))
    failed = msgspec.msgpack.decode(body, type=Failed)
    again = read_error(failed)
    assert failed.number == 9
    assert type(again) is kind
    assert vars(again) == vars(error)


def test_the_error_of_a_return_value_arrives_as_it_was() -> None:
    again = read_error(describe_error(errors.refuse("CKR_PIN_INCORRECT", "C_Login", "token keys")))
    assert isinstance(again, PinIncorrect)
    assert (str(again), again.rv) == ("token keys, C_Login: CKR_PIN_INCORRECT", "CKR_PIN_INCORRECT")


def test_an_unknown_error_is_a_failed_call() -> None:
    assert type(read_error(Failed("NobodyKnows", "what", "", ""))) is CallFailed


def test_only_paths_travel_beside_the_usual_types() -> None:
    assert wire.read_name(Path, wire.write_name(Path("/a/b"))) == Path("/a/b")
    with pytest.raises(NotImplementedError, match="object does not travel"):
        wire.write_name(object())
    with pytest.raises(NotImplementedError):
        wire.read_name(Path, 4)
    with pytest.raises(NotImplementedError):
        wire.read_name(object, "text")
