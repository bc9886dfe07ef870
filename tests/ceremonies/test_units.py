"""Figures of work orders, from entries alone."""

from typing import Any

import pytest

from ceremonies.journal import Placed
from ceremonies.sums import SIZE
from ceremonies.units import Figures, Permit, Tally, Units, tally_rows


def take(units: Units, kind: str, seq: int = 0, **entry: Any) -> None:
    units.take(Placed(seq, bytes(32), b""), {"type": kind, **entry})


def certified(serial: str, document: str, **what: Any) -> dict[str, Any]:
    facts = {"serial": serial, "work_order": "wo", **what}
    return {"op": {"kind": "certificate.idevid", "what": facts}, "out": {"status": "ok", "doc": document}}


def about(**what: Any) -> dict[str, Any]:
    return {"op": {"what": {"work_order": "wo", **what}}}


@pytest.fixture
def units() -> Units:
    """An order of one reworked unit, and two certificates."""
    found = Units()
    take(found, "quota.open", op={"what": {"work_order": "wo", "rework_quantity": 1}})
    take(found, "key.sign.outcome", **certified("S1", "c1"))
    take(found, "key.sign.outcome", **certified("S2", "c2"))
    return found


def test_a_tally_does_not_know_the_order_but_every_row() -> None:
    rows = [("S1", "c1"), ("S2", "c2"), ("S3", "c3")]
    assert tally_rows(rows) == tally_rows(reversed(rows))
    for other in (rows[:2], [*rows, rows[0]], [("S1", "c2"), ("S2", "c1"), rows[2]], [("S1c", "1"), *rows[1:]]):
        assert tally_rows(rows) != tally_rows(other)
    assert tally_rows([]) == Tally()


def test_the_sum_is_taken_modulo_its_space() -> None:
    tally = Tally(1, b"\xff" * SIZE)
    tally.add("S1", "c1")
    assert int.from_bytes(tally.digest, "big") == int.from_bytes(tally_rows([("S1", "c1")]).digest, "big") - 1


def test_certificates_and_confirmations(units: Units) -> None:
    take(units, "device.confirm", **about(serial="S1", certificate="c1"))
    take(units, "device.confirm", **about(serial="S2"), out={"status": "denied", "why": "chain-mismatch: no"})
    figures = units.orders["wo"]
    assert (figures.issued, figures.built, figures.unconfirmed) == (2, 1, 1)
    assert figures.certified == tally_rows([("S1", "c1"), ("S2", "c2")])
    assert figures.confirmed == tally_rows([("S1", "c1")])


@pytest.mark.parametrize("confirmed", ["before", "meanwhile", "never"])
def test_rework_takes_the_confirmation_along(units: Units, confirmed: str) -> None:
    if confirmed == "before":
        take(units, "device.confirm", **about(serial="S1", certificate="c1"))
    permit = about(serial="S1", certificate="c1", spki="k1", confirmed=confirmed == "before")
    take(units, "quota.rework", seq=7, **permit)
    assert units.permits == {"S1": Permit(7, "wo", "c1", "k1", confirmed == "before")}
    if confirmed == "meanwhile":
        take(units, "device.confirm", **about(serial="S1", certificate="c1"))
    take(units, "key.sign.outcome", **certified("S1", "c9", rework="7"))
    figures = units.orders["wo"]
    assert (figures.issued, figures.built, figures.reworked) == (2, 0, 1)
    assert figures.replaced == tally_rows([("S1", "c1")])
    assert (units.permits, units.replaced) == ({}, {"k1": "S1"})


@pytest.mark.parametrize("confirmed", [True, False])
def test_scrap(units: Units, confirmed: bool) -> None:
    if confirmed:
        take(units, "device.confirm", **about(serial="S1", certificate="c1"))
    take(units, "quota.rework", **about(serial="S1", certificate="c1", spki="k1", confirmed=confirmed))
    take(units, "device.scrap", **about(serial="S1", confirmed=confirmed))
    figures = units.orders["wo"]
    assert (figures.issued, figures.built, figures.scrapped.count, figures.unconfirmed) == (2, 0, 1, 1)
    assert (units.scrapped, units.permits) == ({"S1"}, {})


def test_closing_takes_permits_away(units: Units) -> None:
    take(units, "quota.rework", **about(serial="S1", certificate="c1", spki="k1", confirmed=False))
    units.permits["X"] = Permit(1, "another", "c", "k", confirmed=False)
    take(units, "quota.close", seq=9, **about())
    assert units.orders["wo"].closed == 9
    assert set(units.permits) == {"X"}


def test_refusals_and_duplicates(units: Units) -> None:
    for why in ("serial-taken: no", "key-known: no", "key-refused: no"):
        take(units, "key.sign.denied", **about(serial="S9"), out={"status": "denied", "why": why})
    take(units, "key.sign.denied", op={"what": {"work_order": "of nobody"}}, out={"status": "denied", "why": "x: y"})
    take(units, "key.sign.denied", op={"kind": "fw-manifest"}, out={"status": "denied", "why": "x: y"})
    assert (units.orders["wo"].refused, units.orders["wo"].duplicates) == (3, 2)
    assert set(units.orders) == {"wo"}


def test_other_documents_and_failures_are_of_no_unit(units: Units) -> None:
    before = Figures(**{name: getattr(units.orders["wo"], name) for name in Figures.__struct_fields__})
    take(units, "key.sign.outcome", op={"kind": "trust-set", "what": {}}, out={"status": "ok", "doc": "x"})
    take(units, "key.sign.outcome", op={"kind": "certificate.idevid", "what": {}}, out={"status": "fail"})
    take(units, "ceremony.close", op={"what": {}})
    assert units.orders["wo"] == before
