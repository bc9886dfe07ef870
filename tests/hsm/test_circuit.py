import pytest

from hsm.circuit import FAILURES, PAUSE, Circuit, is_outage, may_move
from hsm.errors import CallFailed, HsmError, KeyNotFound, PinIncorrect, RequestInvalid, TokenNotFound, refuse
from tests.hsm.devices import Clock

LOST = refuse("CKR_DEVICE_REMOVED", "C_Sign", "token a")


def test_it_opens_after_failures_in_a_row_and_closes_after_a_success() -> None:
    clock = Clock()
    circuit = Circuit(clock)
    for _ in range(FAILURES - 1):
        circuit.fail(LOST)
    assert (circuit.is_open, circuit.calm) == (False, False)
    circuit.succeed()
    assert (circuit.failures, circuit.calm) == (0, True)
    for _ in range(FAILURES):
        circuit.fail(LOST)
    assert (circuit.is_open, circuit.is_due, circuit.wait, circuit.last) == (True, False, PAUSE, LOST)
    clock.now += PAUSE
    assert (circuit.is_open, circuit.is_due, circuit.wait) == (True, True, 0.0)
    circuit.fail(LOST)
    assert (circuit.is_due, circuit.wait) == (False, PAUSE)
    clock.now += PAUSE
    circuit.succeed()
    assert (circuit.is_open, circuit.is_due, circuit.calm, circuit.wait) == (False, False, True, 0.0)


def test_it_can_start_open() -> None:
    circuit = Circuit(Clock())
    circuit.open(LOST)
    assert (circuit.is_open, circuit.failures) == (True, FAILURES)


@pytest.mark.parametrize(
    ("error", "moves", "counts"),
    [
        (LOST, True, True),
        (refuse("CKR_SESSION_CLOSED", "C_Sign", "a"), True, True),
        (refuse("CKR_GENERAL_ERROR", "C_Sign", "a"), True, True),
        (CallFailed("a"), True, True),
        (TokenNotFound("a"), True, True),
        (KeyNotFound("a"), True, False),
        (PinIncorrect("a", rv="CKR_PIN_INCORRECT"), False, False),
        (refuse("CKR_KEY_CHANGED", "C_Sign", "a"), False, False),
        (refuse("CKR_MECHANISM_INVALID", "C_Sign", "a"), False, False),
        (RequestInvalid("a"), False, False),
    ],
)
def test_what_moves_on_and_what_counts(error: HsmError, moves: bool, counts: bool) -> None:
    assert (may_move(error), is_outage(error)) == (moves, counts)
