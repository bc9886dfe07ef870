"""What is remembered of messages, and the nonce that says which entry an answer came from."""

import hashlib
from datetime import UTC, datetime
from typing import Any, cast

import msgspec
import pytest

from ceremonies import transactions as module
from ceremonies.tokens import Identity
from ceremonies.transactions import (
    WINDOW_S,
    MessageReplayed,
    MessageUntimely,
    Transactions,
    is_answered,
    name_answer,
    read_index,
)
from ceremonies.vigilance import StationTooFast
from pki.cmp.messages import Header, Message

NOW, RATE = 1_800_000_000, 250
HEADER = Header(2, b"", NOW, b"", b"", b"t" * 16, b"n" * 16, b"", False)


def at(time: int, transaction: bytes = b"t" * 16) -> Header:
    return msgspec.structs.replace(HEADER, time=time, transaction=transaction)


class Taking:
    """What was taken, and how often a sender's rate was spent."""

    def __init__(self) -> None:
        self.seen, self.spent = Transactions(NOW, RATE), 0

    def spend(self) -> None:
        self.spent += 1

    def take(self, sender: str, kind: str, header: Header, now: int, role: str = "station") -> bool:
        identity = Identity(cast(Any, role), sender, "", "", "", datetime.now(UTC), {}, {})
        return self.seen.take(identity, Message(header, kind, b"", b"", b"", ()), now, self.spend)


@pytest.mark.req("T19")
def test_a_transaction_has_one_request_and_one_confirmation_of_each_sender() -> None:
    taking = Taking()
    for sender, role in (("a", "station"), ("b", "station"), ("a", "device")):
        for kind, again in (("ir", "kur"), ("certConf", "certConf")):
            taking.take(sender, kind, HEADER, NOW, role)
            with pytest.raises(MessageReplayed):
                taking.take(sender, again, HEADER, NOW, role)
    taking.take("a", "ir", at(NOW, b"u" * 16), NOW)
    assert taking.spent == 7, "what came before costs nobody anything"


@pytest.mark.req("T19")
@pytest.mark.parametrize("time", [NOW - WINDOW_S - 1, NOW + WINDOW_S + 1, -1, 0])
def test_a_message_has_a_time_near_ours(time: int) -> None:
    taking = Taking()
    with pytest.raises(MessageUntimely):
        taking.take("a", "ir", at(time), NOW)
    assert taking.spent == 0


@pytest.mark.req("T19")
def test_what_is_forgotten_is_too_late_to_come_again() -> None:
    taking = Taking()
    early = at(NOW + WINDOW_S)  # a clock that is ahead
    taking.take("a", "ir", early, NOW)
    for later in (NOW + WINDOW_S, NOW + 2 * WINDOW_S):
        with pytest.raises(MessageReplayed):
            taking.take("a", "ir", early, later)
    taking.take("a", "ir", at(NOW + 3 * WINDOW_S, b"u" * 16), NOW + 3 * WINDOW_S)
    assert len(taking.seen._seen["a"]) == 1
    with pytest.raises(MessageUntimely):
        taking.take("a", "ir", early, NOW + 3 * WINDOW_S)
    taking.take("b", "ir", at(NOW + 6 * WINDOW_S), NOW + 6 * WINDOW_S)
    assert list(taking.seen._seen) == ["b"]


@pytest.mark.req("T19")
def test_what_may_have_come_before_the_start_is_told() -> None:
    taking = Taking()
    assert taking.take("a", "ir", at(NOW + WINDOW_S), NOW)
    assert not taking.take("b", "ir", at(NOW + WINDOW_S + 1), NOW + 1)


@pytest.mark.req("T19")
def test_what_is_over_a_stations_rate_is_refused_for_good() -> None:
    """Who heard it would have it counted later, from elsewhere: two machines that speak for one station."""
    taking, fast = Taking(), StationTooFast("too fast")

    def spend() -> None:
        raise fast

    for role, expected in (("station", MessageReplayed), ("device", StationTooFast)):
        identity = Identity(cast(Any, role), "a", "", "", "", datetime.now(UTC), {}, {})
        for error in (StationTooFast, expected):
            with pytest.raises(error):
                taking.seen.take(identity, Message(HEADER, "ir", b"", b"", b"", ()), NOW, spend)
    taking.take("a", "ir", HEADER, NOW, "device")


@pytest.mark.req("T19")
def test_nothing_that_the_rate_lets_in_is_forgotten_before_it_is_too_late() -> None:
    taking = Taking()
    for number in range(RATE * WINDOW_S):
        now = NOW + number // RATE
        taking.take("a", "ir", at(now, number.to_bytes(16, "big")), now)
    with pytest.raises(MessageReplayed):
        taking.take("a", "ir", at(NOW, bytes(16)), NOW + WINDOW_S)


@pytest.mark.req("T21")
def test_memory_has_a_limit_and_nobody_fills_that_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT", 3)
    taking, fast = Taking(), StationTooFast("too fast")
    taking.seen._most = 3

    def spend() -> None:
        raise fast

    taking.take("quiet", "ir", HEADER, NOW)
    loud = Identity("station", "loud", "", "", "", datetime.now(UTC), {}, {})
    for number in range(9):
        refused = Message(at(NOW, bytes((100 + number,)) * 16), "ir", b"", b"", b"", ())
        with pytest.raises(StationTooFast):
            taking.seen.take(loud, refused, NOW, spend)
    for role, count in (("station", 3), ("device", 5)):
        for number in range(count):
            taking.take("loud", "ir", at(NOW, bytes((number,)) * 16), NOW, role)
    assert {holder: len(kept) for holder, kept in taking.seen._seen.items()} == {"quiet": 1, "loud": 6, "": 3}
    for sender, transaction in (("loud", bytes(16)), ("quiet", b"t" * 16)):
        with pytest.raises(MessageReplayed):
            taking.take(sender, "ir", at(NOW, transaction), NOW)
    taking.take("loud", "ir", at(NOW, b"\x09" * 16), NOW)
    assert len(taking.seen._seen["loud"]) == 6


def test_an_answer_is_named_by_its_entry_and_its_transaction() -> None:
    fresh, entry = b"r" * 16, hashlib.sha256(b"entry").digest()
    nonce = name_answer(fresh, 417, entry, b"t" * 16)
    assert (len(nonce), nonce[:16], read_index(nonce)) == (32, fresh, 417)
    assert is_answered(nonce, 417, entry, b"t" * 16)
    others = ((nonce, 418, entry, b"t" * 16), (nonce, 417, bytes(32), b"t" * 16), (nonce, 417, entry, b"u" * 16))
    changed = (bytes(nonce[at] ^ 1 if at == place else nonce[at] for at in range(32)) for place in range(32))
    for other in (*others, *((item, 417, entry, b"t" * 16) for item in (*changed, nonce[:-1], b"", fresh))):
        assert not is_answered(*other)
    assert read_index(b"") == 0
