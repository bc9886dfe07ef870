"""Tallies: independent of order, different for every difference; lists as their outcomes say."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ceremonies.revoked import COMPLETE, Revoked, RevokedRow, partition_of, tally_rows, write_number
from ceremonies.sums import Tally

rows = st.lists(
    st.builds(
        RevokedRow,
        st.integers(0, (1 << 159) - 1).map(write_number),
        st.sampled_from(["superseded", "keyCompromise"]),
        st.integers(0, 1 << 52),
        st.integers(0, 1 << 40),
    ),
    unique_by=lambda row: row.number,
    max_size=12,
)


@given(rows)
def test_the_order_does_not_matter_and_nothing_else_is_lost(found: list[RevokedRow]) -> None:
    tally = tally_rows("ca", found)
    assert tally == tally_rows("ca", sorted(found, reverse=True))
    assert tally == tally_rows("ca", found[:5]).add(tally_rows("ca", found[5:]))
    if found:
        assert tally != tally_rows("other", found)
        assert tally != tally_rows("ca", found[1:])
        changed = RevokedRow(found[0].number, "cACompromise", found[0].revoked_us, found[0].seq)
        assert tally != tally_rows("ca", [changed, *found[1:]])


def test_an_entry_counts_in_each_partition() -> None:
    numbers = [write_number(n) for n in (5, 1 << 153, (1 << 159) - 1)]
    assert [partition_of(number) for number in numbers] == [0, 1, 63]
    revoked = Revoked()
    revoked.take(9, {"ca": "c", "numbers": numbers, "reason": "superseded", "at": 7})
    expected = [tally_rows("c", [RevokedRow(number, "superseded", 7, 9)]) for number in numbers]
    assert [revoked.tally("c", partition) for partition in (0, 1, 63)] == expected
    assert revoked.tally("c", COMPLETE) == expected[0].add(expected[1]).add(expected[2])
    assert (revoked.tally("c", 2), revoked.tally("none", 0), revoked.count) == (Tally(), Tally(), 3)


def test_a_milestone_keeps_them() -> None:
    revoked = Revoked()
    revoked.take(9, {"ca": "c", "numbers": [write_number(5)], "reason": "superseded", "at": 7})
    data = msgspec.msgpack.encode(revoked)
    assert msgspec.msgpack.decode(data, type=Revoked) == revoked


@pytest.mark.req("CA-9")
def test_the_newest_list_counts() -> None:
    revoked = Revoked()
    for seq, number in ((4, 3), (9, 8)):
        what = {"crl_number": number, "from": 1, "until": 2, "entries": 1, "covers": "ab", "partition": 5, "ca": "x"}
        revoked.take_list(seq, {"op": {"what": what}, "out": {"doc": f"d{seq}"}, "keys": [{"spki": "c"}]})
    facts = revoked.lists["c"][5]
    assert (facts.number, facts.document, facts.seq, facts.covers) == (8, "d9", 9, Tally(1, "ab"))
