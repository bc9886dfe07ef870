"""Every refusal of the protocol is one that exists, and stands for a bit that exists."""

import pytest

from api.errors import STATUS
from ceremonies.vigilance import STRANGE
from pki.cmp.failures import FAILURES


@pytest.mark.parametrize("code", FAILURES)
def test_a_failure_is_a_refusal_that_we_know(code: str) -> None:
    assert 0 <= FAILURES[code] <= 26
    assert STATUS[code] < 429, "a service that is full or away answers as HTTP does"


def test_what_makes_a_station_strange_is_told_in_the_protocol() -> None:
    assert FAILURES.keys() >= STRANGE
    assert FAILURES["proof-of-possession-failed"] == 9
    assert FAILURES["client-certificate-unknown"] == 20


def test_rules_about_hardware_and_about_what_was_revoked_are_told_in_the_protocol() -> None:
    assert FAILURES["key-unprotected"] == 19
    assert FAILURES["certificate-withdrawn"] == 10
    assert FAILURES["authority-unavailable"] == 24
