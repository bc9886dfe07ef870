"""Reasons by the standard's names and numbers."""

import pytest
from cryptography import x509

from pki.x509.errors import ReasonUnknown
from pki.x509.reasons import REASONS, read_reason


def test_the_reasons_are_those_of_the_standard_that_cannot_be_undone() -> None:
    theirs = {flag.value for flag in x509.ReasonFlags}
    assert theirs - set(REASONS) == {"certificateHold", "removeFromCRL"}
    assert set(REASONS) <= theirs
    assert (read_reason("keyCompromise"), read_reason("unspecified")) == (1, 0)


@pytest.mark.parametrize("name", ["certificateHold", "removeFromCRL", "", "keycompromise"])
def test_what_is_no_reason(name: str) -> None:
    with pytest.raises(ReasonUnknown):
        read_reason(name)
