"""How stations get on, from entries alone."""

from typing import Any

import msgspec
import pytest

from ceremonies.journal import Placed
from ceremonies.paces import MINUTES, STATIONS_LIMIT, TENS, Paces, Recent, read_time
from ceremonies.tables import EntryRow
from tests.world import World

STATION: dict[str, Any] = {"actor": {"role": "station", "sub": "graz-3-a"}}
OTHER: dict[str, Any] = {"actor": {"role": "station", "sub": "graz-3-b"}}
AT = "2026-11-23T07:15:09.338312Z"


def take(paces: Paces, kind: str, ts: str = AT, **entry: Any) -> None:
    paces.take(Placed(0, bytes(32), b'{"ts":"%s"}' % ts.encode()), {"type": kind, **STATION, **entry})


def certified(serial: str, **what: Any) -> dict[str, Any]:
    facts = {"serial": serial, "work_order": "wo", **what}
    return {"op": {"kind": "certificate.idevid", "what": facts}, "out": {"status": "ok", "doc": "c"}}


def about(**what: Any) -> dict[str, Any]:
    return {"op": {"what": {"work_order": "wo", **what}}}


def denied(why: str) -> dict[str, Any]:
    return {"out": {"status": "denied", "why": f"{why}: no"}}


@pytest.fixture
def paces() -> Paces:
    """Two units by one station, one by another."""
    found = Paces()
    take(found, "quota.open", **about())
    take(found, "key.sign.outcome", **certified("S1"))
    take(found, "key.sign.outcome", **certified("S2"))
    take(found, "key.sign.outcome", **certified("S3"), **OTHER)
    return found


def test_an_hour_and_a_minute() -> None:
    recent = Recent()
    for minute in range(120):
        recent.add(f"2026-11-23T{8 + minute // 60:02}:{minute % 60:02}:30.000000Z")
    for second in range(60):
        recent.add(f"2026-11-23T10:00:{second:02}.000000Z")
    assert (len(recent.minutes), len(recent.tens)) == (MINUTES, TENS)
    assert recent.since_hour("2026-11-23T09:00:59.999999Z") == 59 + 60
    assert recent.since_minute("2026-11-23T10:00:19.999999Z") == 40
    assert recent.since_minute("2026-11-23T10:01:00.000000Z") == 0
    assert recent.last == "2026-11-23T10:00:59.000000Z"


def test_who_issued_what_and_what_waits(paces: Paces) -> None:
    pace = paces.stations["graz-3-a"]
    assert (pace.order, pace.issued.last, pace.issued.minutes) == ("wo", AT, {"2026-11-23T07:15": 2})
    assert paces.unconfirmed == {"wo": {"graz-3-a": 2, "graz-3-b": 1}}
    take(paces, "device.confirm", **about(serial="S3", certificate="c", station="graz-3-b"))
    take(paces, "device.confirm", **about(serial="S1", certificate="c"))  # an entry of before
    assert paces.unconfirmed == {"wo": {"graz-3-a": 1, "graz-3-b": 0}}
    take(paces, "device.confirm", **about(serial="S3", certificate="c", station="graz-3-b"))
    assert paces.unconfirmed["wo"]["graz-3-b"] == 0


def test_refusals_are_of_stations(paces: Paces) -> None:
    take(paces, "key.sign.denied", **about(serial="S9"), **denied("serial-taken"))
    take(paces, "device.confirm", **about(serial="S1"), **denied("chain-mismatch"))
    take(paces, "key.sign.denied", op={"kind": "certificate.idevid"}, **denied("work-order-unknown"))
    pipeline = {"actor": {"role": "pipeline", "sub": "x"}}
    take(paces, "key.sign.denied", op={"kind": "fw-manifest"}, **{**denied("floor-refused"), **pipeline})
    take(paces, "key.sign.denied", **{**about(), **denied("x"), "actor": {"role": "station", "sub": "new"}})
    pace = paces.stations["graz-3-a"]
    assert (pace.order, pace.refusal, pace.refused.minutes) == ("wo", "work-order-unknown", {"2026-11-23T07:15": 3})
    assert set(paces.stations) == {"graz-3-a", "graz-3-b", "new"}
    assert paces.unconfirmed["wo"]["graz-3-a"] == 2


def test_refusals_before_there_is_an_order_are_of_stations_too(paces: Paces) -> None:
    """By EST and CMP no order may name the serial; whoever is suspended is told so before anything is looked up."""
    why = {"why": "serial-not-in-order: no"}
    take(paces, "auth.fail", op={"what": {"command": "enrol-device", "serial": "S9", **why}})
    pace = paces.stations["graz-3-a"]
    assert (pace.refusal, pace.order, sum(pace.refused.minutes.values())) == ("serial-not-in-order", "wo", 1)
    take(paces, "auth.fail", op={"what": {"command": "list-orders", **why}})
    take(paces, "auth.fail", op={"what": {"command": "enrol-device", **why}}, actor={"role": "device", "sub": "S1"})
    assert sum(pace.refused.minutes.values()) == 1 and "S1" not in paces.stations


def test_a_request_that_the_keyroom_drafts_again_is_no_refusal(paces: Paces) -> None:
    """The CA's next generation took over meanwhile: the station sees nothing of it."""
    take(paces, "key.sign.denied", **about(), **denied("authority-not-issuing"))
    pace = paces.stations["graz-3-a"]
    assert (pace.refusal, pace.refused.last) == ("", "")


def test_rework_of_a_unit_of_a_closed_order_takes_nothing_from_the_one_that_permits_it(paces: Paces) -> None:
    take(paces, "quota.close", **about())
    take(paces, "quota.open", op={"what": {"work_order": "later"}})
    take(paces, "key.sign.outcome", **certified("S9", work_order="later"))
    facts = {"work_order": "later", "before": "wo", "serial": "S1", "confirmed": False, "station": "graz-3-a"}
    take(paces, "quota.rework", op={"what": facts})
    take(paces, "key.sign.outcome", **certified("S1", work_order="later", rework="7"))
    assert paces.unconfirmed == {"later": {"graz-3-a": 2}}


@pytest.mark.parametrize("confirmed", ["before", "meanwhile", "never"])
def test_rework_moves_a_unit_to_who_issues_it_anew(paces: Paces, confirmed: str) -> None:
    confirm = about(serial="S1", certificate="c", station="graz-3-a")
    if confirmed == "before":
        take(paces, "device.confirm", **confirm)
    take(paces, "quota.rework", **about(serial="S1", confirmed=confirmed == "before", station="graz-3-a"))
    if confirmed == "meanwhile":
        take(paces, "device.confirm", **confirm)
    take(paces, "key.sign.outcome", **certified("S1", rework="7"), **OTHER)
    assert paces.unconfirmed == {"wo": {"graz-3-a": 1, "graz-3-b": 2}}
    assert paces.permits == {}


@pytest.mark.parametrize("confirmed", [True, False])
def test_a_scrapped_unit_waits_no_more(paces: Paces, confirmed: bool) -> None:
    if confirmed:
        take(paces, "device.confirm", **about(serial="S1", certificate="c", station="graz-3-a"))
    take(paces, "quota.rework", **about(serial="S1", confirmed=confirmed, station="graz-3-a"))
    take(paces, "device.scrap", **about(serial="S1", confirmed=confirmed, station="graz-3-a"))
    assert paces.unconfirmed["wo"]["graz-3-a"] == 1
    assert paces.permits == {}


def test_nothing_waits_under_an_order_that_is_closed(paces: Paces) -> None:
    take(paces, "quota.rework", **about(serial="S1", confirmed=False, station="graz-3-a"))
    paces.permits["X"] = ("another", "graz-3-a")
    take(paces, "quota.close", **about())
    assert (paces.unconfirmed, set(paces.permits)) == ({}, {"X"})
    take(paces, "device.confirm", **about(serial="S1", certificate="c", station="graz-3-a"))  # excused
    assert paces.unconfirmed == {}
    assert paces.stations["graz-3-a"].issued.last == AT


def test_other_documents_are_of_no_station(paces: Paces) -> None:
    take(paces, "key.sign.outcome", op={"kind": "trust-set", "what": {}}, out={"status": "ok", "doc": "x"})
    take(paces, "key.sign.outcome", op={"kind": "certificate.idevid", "what": {}}, out={"status": "fail"})
    take(paces, "ceremony.close", op={"what": {}})
    assert paces.stations["graz-3-a"].issued.minutes == {"2026-11-23T07:15": 2}


def test_the_time_of_an_entry_is_the_one_that_its_reader_finds(factory_world: World) -> None:
    for row in factory_world.room.store.list(EntryRow, "seq"):
        assert read_time(row["leaf"]) == msgspec.json.decode(row["leaf"])["ts"]
    hostile = {"actor": {"sub": '"ts":"1999"'}, "ts": AT, "type": "key.sign.outcome", "v": 1}
    assert read_time(msgspec.json.encode(hostile)) == AT


def test_the_first_is_forgotten_when_there_are_too_many(paces: Paces) -> None:
    for number in range(STATIONS_LIMIT):
        take(paces, "key.sign.denied", **{**about(), **denied("x"), "actor": {"role": "station", "sub": f"s{number}"}})
    assert len(paces.stations) == STATIONS_LIMIT
    assert "graz-3-a" not in paces.stations
