"""What stations are suspended for, and how much they may ask."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ceremonies.claims import QuotaExhausted
from ceremonies.commands import (
    Confirmation,
    ConfirmDevices,
    DeviceRequest,
    IssueDevice,
    IssueDevices,
    ListTrustSets,
)
from ceremonies.errors import BindingMismatch
from ceremonies.issuance import KeyKnown, SerialNotInOrder
from ceremonies.stations import SUSPEND, StationSuspended
from ceremonies.tokens import Identity
from ceremonies.vigilance import AddressRefused, StationTooFast, Vigilance
from ceremonies.writer import KeyroomBusy
from tests.ceremonies.stationed import DER, NOW, enrolled

ONE = IssueDevice("wo-1", "BMS-1", b"")


class Watching:
    """A vigilance over one enrolled station, with a clock that stands; what it writes is kept and followed."""

    def __init__(self, rate: int = 10, **station: Any) -> None:
        self.now_s, self.busy = 1000.0, False
        self.written: list[dict[str, Any]] = []
        self.stations = enrolled(**station)
        self.identity = self.stations.identify(DER, NOW)
        around = SimpleNamespace(mono_us=lambda: int(self.now_s * 1_000_000))
        ledger = SimpleNamespace(replay=SimpleNamespace(stations=self.stations), record=self.record)
        settings = SimpleNamespace(station_rate=rate)
        self.vigilance = Vigilance(*cast(Any, (settings, ledger, around, SimpleNamespace(run=self.run))))

    async def run(self, task: Callable[[], object], *, urgent: bool) -> None:
        assert urgent
        if self.busy:
            raise KeyroomBusy("full")
        task()

    def record(self, drafts: list[dict[str, Any]]) -> None:
        for draft in drafts:
            self.written.append(draft["op"]["what"])
            self.stations.take(draft["type"], 40 + len(self.written), draft["op"]["what"])

    def admit(self, command: Any = ONE, source: str = "192.0.2.7", identity: Identity | None = None) -> None:
        name = (identity or self.identity).sub
        self.vigilance.spend(name, command)
        asyncio.run(self.vigilance.check(name, source))

    def note(self, *errors: Exception | None) -> None:
        for error in errors:
            asyncio.run(self.vigilance.note(self.identity, error))


@pytest.mark.req("AZ-4", "CA-13")
@pytest.mark.parametrize("error", [SerialNotInOrder("x"), BindingMismatch("x"), KeyKnown("x")])
def test_three_strange_requests_in_a_row_suspend(error: Exception) -> None:
    watching = Watching()
    watching.note(error, error)
    watching.admit()
    watching.note(error)
    assert [entry["station"] for entry in watching.written] == ["line-3-a"]
    with pytest.raises(StationSuspended):
        watching.admit()


def test_what_is_done_well_in_between_starts_the_count_anew() -> None:
    watching, strange = Watching(), SerialNotInOrder("x")
    watching.note(strange, strange, None, strange, strange)
    assert watching.written == []
    watching.note(QuotaExhausted("no fault of the station's"), strange)
    assert len(watching.written) == 1


def test_a_suspended_station_is_not_suspended_again() -> None:
    watching, strange = Watching(), SerialNotInOrder("x")
    watching.note(*[strange] * 7)
    assert len(watching.written) == 1


def test_other_roles_are_not_watched() -> None:
    watching = Watching()
    asyncio.run(watching.vigilance.note(None, SerialNotInOrder("x")))
    assert watching.written == []


@pytest.mark.req("T3")
def test_two_machines_with_one_key_suspend_the_station() -> None:
    watching = Watching()
    for source in ("192.0.2.7", "192.0.2.7", "192.0.2.8", "192.0.2.8"):
        watching.admit(source=source)  # it moved
    with pytest.raises(StationSuspended):
        watching.admit(source="192.0.2.7")
    assert "192.0.2.8 and 192.0.2.7" in watching.written[0]["reason"]


def test_an_address_is_the_same_however_it_is_written() -> None:
    watching = Watching(addresses=["192.0.2.0/24", "2001:db8::/32"])
    for source in ("192.0.2.7", "::ffff:192.0.2.7", "192.0.2.7"):
        watching.admit(source=source)
    watching.now_s += 301
    for source in ("2001:db8::7", "2001:DB8:0::7", "2001:db8::7"):
        watching.admit(source=source)
    assert watching.written == []


def test_a_station_may_move_back_after_a_while() -> None:
    watching = Watching()
    watching.admit(source="192.0.2.7")
    watching.admit(source="192.0.2.8")
    watching.now_s += 301
    watching.admit(source="192.0.2.7")
    assert watching.written == []


@pytest.mark.req("AZ-4")
@pytest.mark.parametrize(("source", "welcome"), [("198.51.100.3", True), ("192.0.2.7", False), ("", False)])
def test_a_station_comes_from_where_it_was_enrolled_for(source: str, welcome: bool) -> None:
    watching = Watching(addresses=["198.51.100.0/24", "2001:db8::/32"])
    if welcome:
        watching.admit(source=source)
        watching.admit(source="2001:db8::7")
    else:
        with pytest.raises(AddressRefused):
            watching.admit(source=source)


@pytest.mark.req("AZ-4", "T21")
def test_a_station_gets_its_rate_and_what_it_saved_up() -> None:
    watching = Watching(rate=10)
    for _ in range(200):
        watching.admit()
    with pytest.raises(StationTooFast):
        watching.admit()
    watching.now_s += 0.2
    watching.admit()
    watching.admit()
    with pytest.raises(StationTooFast):
        watching.admit()


@pytest.mark.req("T21")
@pytest.mark.parametrize("stopped", [{"addresses": ["198.51.100.0/24"]}, {}])
def test_who_is_stopped_has_no_more_than_its_rate_either(stopped: dict[str, Any]) -> None:
    """Each refusal is an entry: a stolen key must not fill the journal."""
    watching = Watching(rate=1, **stopped)
    if not stopped:
        watching.stations.take(SUSPEND, 7, {"station": "line-3-a", "reason": "stolen"})
    for _ in range(20):
        with pytest.raises((StationSuspended, AddressRefused)):
            watching.admit()
    with pytest.raises(StationTooFast):
        watching.admit()


@pytest.mark.req("T21")
def test_confirmations_count_by_their_units() -> None:
    watching = Watching(rate=10)
    watching.admit(ConfirmDevices("wo-1", (Confirmation("BMS-1", "0" * 64, b""),) * 200))
    with pytest.raises(StationTooFast):
        watching.admit()


def test_a_suspension_that_could_not_be_written_is_written_at_the_next_strange_request() -> None:
    watching, strange = Watching(), SerialNotInOrder("x")
    watching.busy = True
    watching.note(strange, strange)
    with pytest.raises(KeyroomBusy):
        watching.note(strange)
    watching.busy = False
    watching.note(strange)
    assert len(watching.written) == 1


def test_a_batch_counts_by_its_units_and_may_overdraw_once() -> None:
    watching = Watching(rate=10)
    batch = IssueDevices("wo-1", (DeviceRequest("BMS-1", b""),) * 100)
    for _ in range(2):
        watching.admit(batch)
    with pytest.raises(StationTooFast, match="10 units") as refused:
        watching.admit(batch)
    assert "wait 1 s" in refused.value.hint
    watching.now_s += 1
    watching.admit(batch)
    with pytest.raises(StationTooFast) as refused:
        watching.admit(ListTrustSets())
    assert "wait 10 s" in refused.value.hint
