"""LDevIDs as the entries say: the newest of each device, and the sum of all rows."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from ceremonies.ldevids import Ldevid, Ldevids, read_facts, read_row
from ceremonies.sums import Tally, tally_digests

CA, KEY = "ca" * 32, "ab" * 32
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
HELD = Ldevid("A-1", CA, f"{7:040x}", "dd" * 32, KEY, "2026-01-01T00:00:00Z", "2026-12-27T00:00:00Z", 5)


def outcome(number: int, was: str = "") -> dict[str, Any]:
    """The outcome entry of an LDevID."""
    what = {
        "serial": "A-1", "certificate_number": f"{number:x}", "subject_spki": KEY, "not_before": HELD.not_before,
        "not_after": HELD.not_after, **({"was": was} if was else {}),
    }  # fmt: skip
    return {"keys": [{"spki": CA}], "op": {"what": what}, "out": {"doc": "dd" * 32}}


def test_an_entry_is_a_row() -> None:
    assert read_facts(5, outcome(7)) == HELD == read_row({**msgspec.structs.asdict(HELD), "more": 1})


def test_the_sum_has_the_newest_row_of_each_device() -> None:
    facts = Ldevids()
    facts.take(5, outcome(7))
    facts.take(9, outcome(8, HELD.digest))
    newest = read_facts(9, outcome(8))
    assert facts.tally == tally_digests([bytes.fromhex(newest.digest)]) != Tally()


@pytest.mark.parametrize("name", Ldevid.__struct_fields__)
def test_the_digest_sees_every_field(name: str) -> None:
    other = msgspec.structs.replace(HELD, **{name: 6 if name == "seq" else "x"})
    assert other.digest != HELD.digest


@pytest.mark.parametrize(("days", "fresh"), [(0, True), (239, True), (240, False), (400, False)])
def test_it_is_fresh_until_a_third_of_its_360_days_is_left(days: int, fresh: bool) -> None:
    assert HELD.is_fresh(BEGIN + timedelta(days=days)) is fresh
