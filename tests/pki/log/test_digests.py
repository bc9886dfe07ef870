"""Digests in little memory: the same as a set of them."""

import hashlib
import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from pki.log.digests import Digests

NAMES = st.sets(st.binary(min_size=32, max_size=32).map(bytes.hex), max_size=50)


@given(NAMES, NAMES)
def test_they_are_a_set_in_order(names: set[str], others: set[str]) -> None:
    digests = Digests(iter(names))
    assert list(digests) == sorted(names)
    assert [digests.name(at) for at in range(len(digests))] == sorted(names)
    assert [digests.find(name) for name in sorted(names)] == list(range(len(names)))
    assert {name for name in names | others if name in digests} == names


def test_neighbours_are_told_apart() -> None:
    names = [f"{first:02x}" + "00" * 30 + f"{last:02x}" for first in (0, 1, 255) for last in (0, 1, 255)]
    digests = Digests(reversed(names))
    assert [digests.find(name) for name in names] == list(range(9))
    assert digests.find("01" + "00" * 30 + "02") == digests.find("ff" * 32) == -1


def test_a_digest_costs_about_its_own_size() -> None:
    names = (hashlib.sha256(b"%d" % number).hexdigest() for number in range(20_000))
    tracemalloc.start()
    digests = Digests(names)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(digests) == 20_000
    assert held < 20_000 * 40
