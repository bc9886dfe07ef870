import pytest
from hypothesis import given
from hypothesis import strategies as st

from pki.trust.errors import PayloadInvalid
from pki.trust.targets import DIGEST, SHA256, SHA384, TARGET, Digest, Range, compare_versions
from tests.pki.trust.fleets import target

VERSIONS = st.lists(st.integers(-3, 5), min_size=1, max_size=5).map(tuple)


@pytest.mark.parametrize(
    ("older", "newer"),
    [((1,), (2,)), ((1, 9), (1, 10)), ((2, 0, -1, 1), (2, 0)), ((2, 0, -3), (2, 0, -1)), ((2,), (2, 0, 1))],
)
def test_order(older: tuple[int, ...], newer: tuple[int, ...]) -> None:
    assert (compare_versions(older, newer), compare_versions(newer, older)) == (-1, 1)


@given(VERSIONS, VERSIONS, VERSIONS)
def test_it_is_an_order(one: tuple[int, ...], two: tuple[int, ...], three: tuple[int, ...]) -> None:
    assert compare_versions(one, (*one, 0)) == 0
    assert compare_versions(one, two) == -compare_versions(two, one)
    if compare_versions(one, two) <= 0 and compare_versions(two, three) <= 0:
        assert compare_versions(one, three) <= 0


def test_ranges_include_both_ends() -> None:
    inside = Range((1, 0), (2,))
    assert [inside.contains(v) for v in ((0, 9), (1,), (1, 5), (2, 0), (2, 0, 1))] == [False, True, True, True, False]
    assert Range((1,)).contains((99,))
    assert not Range((2,), (1,)).contains((1, 5))


def test_digests_have_the_size_of_their_algorithm() -> None:
    for digest in (Digest(SHA256, bytes(32)), Digest(SHA384, bytes(48))):
        assert DIGEST.read(DIGEST.write(digest), "digest") == digest
    for alg, size in ((SHA256, 48), (SHA384, 32), (-44, 48), (-15, 32)):
        with pytest.raises(PayloadInvalid):
            DIGEST.read([alg, bytes(size)], "digest")


def test_target_round_trip() -> None:
    full = target(devices=(b"\1" * 33,), sites=(b"s" * 16,), regions=("EU",))
    assert TARGET.read(TARGET.write(full), "target") == full
