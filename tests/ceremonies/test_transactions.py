"""What is remembered of messages, and the nonce that says which entry an answer came from."""

import hashlib

import msgspec
import pytest

from ceremonies import transactions as module
from ceremonies.transactions import WINDOW_S, MessageReplayed, MessageUntimely, Transactions, name_answer, read_index
from pki.cmp.messages import Header

NOW = 1_800_000_000
HEADER = Header(2, b"", NOW, b"", b"", b"t" * 16, b"n" * 16, b"", False)


def at(time: int, transaction: bytes = b"t" * 16) -> Header:
    return msgspec.structs.replace(HEADER, time=time, transaction=transaction)


@pytest.mark.req("T19")
def test_a_transaction_has_one_request_and_one_confirmation_of_each_sender() -> None:
    seen = Transactions()
    for sender in ("a", "b"):
        for kind, again in (("ir", "kur"), ("certConf", "certConf")):
            seen.take(sender, kind, HEADER, NOW)
            with pytest.raises(MessageReplayed):
                seen.take(sender, again, HEADER, NOW)
    seen.take("a", "ir", at(NOW, b"u" * 16), NOW)


@pytest.mark.req("T19")
@pytest.mark.parametrize("time", [NOW - WINDOW_S - 1, NOW + WINDOW_S + 1, -1, 0])
def test_a_message_has_a_time_near_ours(time: int) -> None:
    with pytest.raises(MessageUntimely):
        Transactions().take("a", "ir", at(time), NOW)


@pytest.mark.req("T19")
def test_what_is_forgotten_is_too_late_to_come_again() -> None:
    seen = Transactions()
    early = at(NOW + WINDOW_S)  # a clock that is ahead
    seen.take("a", "ir", early, NOW)
    for later in (NOW + WINDOW_S, NOW + 2 * WINDOW_S):
        with pytest.raises(MessageReplayed):
            seen.take("a", "ir", early, later)
    seen.take("a", "ir", at(NOW + 3 * WINDOW_S, b"u" * 16), NOW + 3 * WINDOW_S)
    assert len(seen._seen) == 1
    with pytest.raises(MessageUntimely):
        seen.take("a", "ir", early, NOW + 3 * WINDOW_S)


def test_memory_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT", 3)
    seen = Transactions()
    for number in range(5):
        seen.take("a", "ir", at(NOW, bytes((number,)) * 16), NOW)
    assert len(seen._seen) == 3
    with pytest.raises(MessageReplayed):
        seen.take("a", "ir", at(NOW, b"\x04" * 16), NOW)


def test_an_answer_is_named_by_its_entry_and_its_transaction() -> None:
    entry = hashlib.sha256(b"entry").digest()
    nonce = name_answer(417, entry, b"t" * 16)
    assert (len(nonce), read_index(nonce)) == (32, 417)
    others = [
        name_answer(418, entry, b"t" * 16),
        name_answer(417, bytes(32), b"t" * 16),
        name_answer(417, entry, b"u" * 16),
    ]
    assert len({nonce, *others}) == 4
    assert len({item[8:] for item in (nonce, *others)}) == 3
    assert read_index(b"") == 0
