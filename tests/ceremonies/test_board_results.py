"""The answer for a screen comes through a frame as it is."""

from ceremonies.commands import Answer
from ceremonies.frames import decode_answer, encode_frame
from tests.api.answers import BOARD


def test_an_answer_comes_back_as_it_was_sent() -> None:
    assert decode_answer(encode_frame(Answer(7, BOARD))[4:]) == Answer(7, BOARD)


def test_the_figures_of_an_order_add_up() -> None:
    (order,) = BOARD.orders
    assert (order.used + order.remaining, order.confirmed + order.unconfirmed) == (order.quantity, order.used)
