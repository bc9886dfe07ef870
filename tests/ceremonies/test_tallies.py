"""Answers about units come through a frame as they are."""

import pytest

from ceremonies.commands import Answer, AnyResult, DeviceConfirmed, DevicesConfirmed, Problem
from ceremonies.frames import decode_answer, encode_frame
from tests.api.answers import ORDER, REPLIES, UNITS


@pytest.mark.parametrize(
    "result", [reply for kind, reply in REPLIES.items() if kind.__module__ == "ceremonies.commands.units"]
)
def test_an_answer_comes_back_as_it_was_sent(result: AnyResult) -> None:
    assert decode_answer(encode_frame(Answer(7, result))[4:]) == Answer(7, result)


def test_a_batch_has_problems_among_its_answers() -> None:
    result = DevicesConfirmed((DeviceConfirmed("S1", 7, replayed=True), Problem("chain-mismatch", "no")))
    assert decode_answer(encode_frame(Answer(7, result))[4:]).result == result


def test_the_figures_of_an_order_add_up() -> None:
    assert ORDER.issued == ORDER.confirmed + ORDER.unconfirmed + ORDER.scrapped
    assert ORDER.quantity == ORDER.used + ORDER.remaining
    assert [unit.state for unit in UNITS] == ["confirmed", "unconfirmed"]
