"""How stations get on: what each issued and was refused last, how much of it in the last hour, what is unconfirmed.

Part of `ceremonies.replay`, for people to look at: nothing is decided by it. Times are those of the entries, and are
kept as their texts (RFC 3339, UTC), whose beginnings name minutes and tens of seconds.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from ceremonies.journal import EntryDraft, Placed
from ceremonies.units import DRAFTED_AGAIN, ISSUED

MINUTE, TEN_SECONDS = 16, 18
"""How much of a time says in which minute, and in which ten seconds, it lies."""
TIME: Final = b'"ts":"'
MINUTES: Final = 61
TENS: Final = 7
REQUESTS: Final = frozenset({"confirm-device", "confirm-devices", "enrol-device", "issue-device", "issue-devices"})
STATIONS_LIMIT: Final = 1024
"""Stations that are remembered; then the one that was the first to ask is forgotten."""


class Recent(msgspec.Struct):
    """When something happened last, and how often: in each minute of the last hour, in each ten seconds of the last
    minute.
    """

    last: str = ""
    minutes: dict[str, int] = msgspec.field(default_factory=dict)
    tens: dict[str, int] = msgspec.field(default_factory=dict)

    def add(self, ts: str) -> None:
        """Once more."""
        self.last = ts
        _count(self.minutes, ts[:MINUTE], MINUTES)
        _count(self.tens, ts[:TEN_SECONDS], TENS)

    def since_hour(self, ts: str) -> int:
        """How often since this time, which is an hour ago."""
        return _sum(self.minutes, ts[:MINUTE])

    def since_minute(self, ts: str) -> int:
        """How often since this time, which is a minute ago."""
        return _sum(self.tens, ts[:TEN_SECONDS])


class Pace(msgspec.Struct):
    """One station. order: the work order that it asked for last. refusal: the code of what it was refused last."""

    order: str = ""
    issued: Recent = msgspec.field(default_factory=Recent)
    refused: Recent = msgspec.field(default_factory=Recent)
    refusal: str = ""


class Paces(msgspec.Struct):
    """stations: by name, or by pseudonym where they come with tokens.

    unconfirmed: by work order that is not closed, how many units each station has issued that wait for confirmation.
    permits: of the units that wait for rework and are unconfirmed, the work order, and the station that issued them.
    """

    stations: dict[str, Pace] = msgspec.field(default_factory=dict)
    unconfirmed: dict[str, dict[str, int]] = msgspec.field(default_factory=dict)
    permits: dict[str, tuple[str, str]] = msgspec.field(default_factory=dict)

    def take(self, placed: Placed, entry: EntryDraft) -> None:
        """Follow one entry; most are of no station."""
        step = _STEPS.get(entry["type"])
        if step is not None:
            step(self, placed, entry)

    def _open_order(self, placed: Placed, entry: EntryDraft) -> None:
        self.unconfirmed[entry["op"]["what"]["work_order"]] = {}

    def _close_order(self, placed: Placed, entry: EntryDraft) -> None:
        order = entry["op"]["what"]["work_order"]
        self.unconfirmed.pop(order, None)
        self.permits = {serial: item for serial, item in self.permits.items() if item[0] != order}

    def _certify(self, placed: Placed, entry: EntryDraft) -> None:
        if entry["op"].get("kind") not in ISSUED or entry["out"]["status"] != "ok":
            return
        what, station = entry["op"]["what"], entry["actor"]["sub"]
        if "rework" in what and what["serial"] in self.permits:
            self._settle(*self.permits.pop(what["serial"]))
        waiting = self.unconfirmed.get(what["work_order"])
        if waiting is not None:
            waiting[station] = waiting.get(station, 0) + 1
        pace = self._find(station)
        pace.order = what["work_order"]
        pace.issued.add(read_time(placed.leaf))

    def _refuse(self, placed: Placed, entry: EntryDraft) -> None:
        """A request for a certificate, or a confirmation, of a station."""
        self._count_refusal(placed, entry, entry["out"]["why"])

    def _turn_away(self, placed: Placed, entry: EntryDraft) -> None:
        """The same, before it was looked at: the station is stopped, or, by EST and CMP, no order names the serial."""
        if entry["op"]["what"].get("command") in REQUESTS:
            self._count_refusal(placed, entry, entry["op"]["what"]["why"])

    def _count_refusal(self, placed: Placed, entry: EntryDraft, why: str) -> None:
        code = why.partition(":")[0]
        if entry.get("actor", {}).get("role") != "station" or code == DRAFTED_AGAIN:
            return
        pace, order = self._find(entry["actor"]["sub"]), entry["op"].get("what", {}).get("work_order", "")
        if order in self.unconfirmed:
            pace.order = order
        pace.refused.add(read_time(placed.leaf))
        pace.refusal = code

    def _confirm(self, placed: Placed, entry: EntryDraft) -> None:
        if "out" in entry:
            self._refuse(placed, entry)
            return
        what: Mapping[str, Any] = entry["op"]["what"]
        self.permits.pop(what["serial"], None)
        # Entries from before `station` was written there: most units are confirmed where they were issued.
        self._settle(what["work_order"], what.get("station", entry["actor"]["sub"]))

    def _permit(self, placed: Placed, entry: EntryDraft) -> None:
        what = entry["op"]["what"]
        if not what["confirmed"] and "before" not in what:  # nothing waits under an order that is closed
            self.permits[what["serial"]] = (what["work_order"], what.get("station", ""))

    def _scrap(self, placed: Placed, entry: EntryDraft) -> None:
        what = entry["op"]["what"]
        self.permits.pop(what["serial"], None)
        if not what["confirmed"]:
            self._settle(what["work_order"], what.get("station", ""))

    def _settle(self, order: str, station: str) -> None:
        """One unit that this station issued waits no more."""
        waiting = self.unconfirmed.get(order, {})
        if waiting.get(station):
            waiting[station] -= 1

    def _find(self, station: str) -> Pace:
        if station not in self.stations:
            if len(self.stations) >= STATIONS_LIMIT:
                del self.stations[next(iter(self.stations))]
            self.stations[station] = Pace()
        return self.stations[station]


def read_time(leaf: bytes) -> str:
    """The time of an entry. Names are sorted (RFC 8785), and what follows `ts` is `type` and `v`: no text of others."""
    at = leaf.rindex(TIME) + len(TIME)
    return leaf[at : leaf.index(b'"', at)].decode()


def _count(buckets: dict[str, int], name: str, keep: int) -> None:
    if name in buckets:
        buckets[name] += 1
        return
    buckets[name] = 1
    if len(buckets) > keep:
        del buckets[next(iter(buckets))]


def _sum(buckets: dict[str, int], since: str) -> int:
    # A copy: the writer may add one meanwhile.
    return sum(count for name, count in list(buckets.items()) if name > since)


_STEPS: Final = {
    "quota.open": Paces._open_order,
    "quota.close": Paces._close_order,
    "quota.rework": Paces._permit,
    "auth.fail": Paces._turn_away,
    "key.sign.denied": Paces._refuse,
    "key.sign.outcome": Paces._certify,
    "device.confirm": Paces._confirm,
    "device.scrap": Paces._scrap,
}
