"""Sums: too wide to be aimed at."""

import hashlib

import pytest

from ceremonies import revoked, units, whereabouts
from ceremonies.sums import EMPTY, SIZE, SPACE, weigh, write_sum

DIGEST = hashlib.sha256(b"row").digest()


def test_a_row_weighs_what_shake_says() -> None:
    assert weigh(DIGEST) == int(hashlib.shake_256(DIGEST).hexdigest(512), 16)
    assert write_sum(SPACE + 5) == write_sum(5) == f"{5:01024x}"
    assert write_sum(-1) == "ff" * SIZE
    assert write_sum(0) == EMPTY


@pytest.mark.req("T5")
def test_chosen_rows_do_not_reach_a_sum() -> None:
    """2 * sqrt(bits) is the logarithm of the work of a generalized birthday with any number of rows."""
    assert 2 * (8 * SIZE) ** 0.5 >= 128
    row = revoked.tally_rows("ca", [revoked.RevokedRow("00" * 20, "superseded", 1, 2)])
    place = whereabouts.tally_rows([whereabouts.Whereabouts("A-1", "issued")])
    unit = units.tally_rows([("S1", "c1")])
    assert [len(bytes.fromhex(item.total)) for item in (row, place)] == [SIZE, SIZE]
    assert len(unit.digest) == SIZE
    assert min(int(row.total, 16), int(place.total, 16), int.from_bytes(unit.digest, "big")) > 1 << 3000
