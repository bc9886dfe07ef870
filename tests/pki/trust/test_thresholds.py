import pytest
from hypothesis import given
from hypothesis import strategies as st

from pki.trust.errors import ThresholdNotMet
from pki.trust.thresholds import Threshold, require

KIDS = st.frozensets(st.binary(min_size=1, max_size=1), max_size=8)


@given(st.integers(1, 6), KIDS, KIDS)
def test_only_distinct_members_count(needed: int, members: frozenset[bytes], signed: frozenset[bytes]) -> None:
    threshold = Threshold("keys", needed, members, signed)
    assert threshold.missing == max(0, needed - len(members & signed))


@pytest.mark.parametrize("needed", [0, -1])
def test_a_threshold_of_nothing_is_never_met_by_nobody(needed: int) -> None:
    assert Threshold("keys", needed, frozenset({b"a"}), frozenset()).missing == 1


def test_require_names_every_threshold_that_is_not_met() -> None:
    members = frozenset({b"a", b"b"})
    met = Threshold("met", 1, members, members)
    require(met)
    with pytest.raises(ThresholdNotMet, match=r"old: 1 of 2 .*; new: 2 of 2 ") as caught:
        require(met, Threshold("old", 2, members, frozenset({b"a"})), Threshold("new", 2, members, frozenset({b"c"})))
    assert "met:" not in caught.value.message


def test_no_threshold_at_all_refuses() -> None:
    with pytest.raises(ThresholdNotMet):
        require()
