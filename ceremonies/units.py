"""What the entries say of units: certified, confirmed, replaced, scrapped; permits for rework; orders that are closed.

Part of `ceremonies.replay`. Figures are exact, and rows are compared with them: their number and their digest.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from ceremonies.journal import EntryDraft, Placed
from ceremonies.sums import SIZE, SPACE, weigh

ISSUED: Final = ("certificate.idevid", "certificate.ieee2030-5-device")
"""Kinds of certificates that make a unit."""
DUPLICATES: Final = ("serial-taken", "key-known")
"""Refusals that a serial or a key came again where it must not."""
DRAFTED_AGAIN: Final = "authority-not-issuing"
"""No refusal of a station's request: the keyroom drafts it again, for the CA that issues now."""


class Tally(msgspec.Struct):
    """How many rows there are, and their sum (`ceremonies.sums`, big endian): in whatever order they came."""

    count: int = 0
    digest: bytes = bytes(SIZE)

    def add(self, *names: str) -> None:
        """One row more, as its names."""
        row = hashlib.sha256("\0".join(names).encode()).digest()
        total = (int.from_bytes(self.digest, "big") + weigh(row)) % SPACE
        self.count, self.digest = self.count + 1, total.to_bytes(SIZE, "big")


def tally_rows(rows: Iterable[tuple[str, ...]]) -> Tally:
    """The tally of rows as they are."""
    tally = Tally()
    for row in rows:
        tally.add(*row)
    return tally


class Figures(msgspec.Struct):
    """A work order in figures.

    certified: (serial, certificate) of every certificate; confirmed: of every confirmation; scrapped: serials.
    replaced: (serial, certificate) of what rework has replaced. built: units whose present certificate is confirmed and
    that are not scrapped. refused: requests without a certificate, among them the duplicates. rework: permits that the
    order has; reworked: opened. closed: the entry that closed it.
    """

    certified: Tally = msgspec.field(default_factory=Tally)
    confirmed: Tally = msgspec.field(default_factory=Tally)
    scrapped: Tally = msgspec.field(default_factory=Tally)
    replaced: Tally = msgspec.field(default_factory=Tally)
    built: int = 0
    refused: int = 0
    duplicates: int = 0
    rework: int = 0
    reworked: int = 0
    closed: int | None = None

    @property
    def issued(self) -> int:
        """Units that have a certificate, scrapped ones included."""
        return self.certified.count - self.replaced.count

    @property
    def unconfirmed(self) -> int:
        """Units whose certificate was never confirmed."""
        return self.issued - self.built - self.scrapped.count


class Permit(msgspec.Struct):
    """Leave for one serial to get a certificate for another key. seq: its entry; certificate, spki: what it replaces.
    confirmed: whether that was confirmed. before: the order that was issued under, where that is another one.
    """

    seq: int
    work_order: str
    certificate: str
    spki: str
    confirmed: bool
    before: str = ""


class Units(msgspec.Struct):
    """orders: by id. permits: those that are open, by serial. replaced: keys that a serial had before, with the serial.
    scrapped: serials. withdrawing: orders whose closing has left certificates to be revoked, and how many at most.
    """

    orders: dict[str, Figures] = msgspec.field(default_factory=dict)
    permits: dict[str, Permit] = msgspec.field(default_factory=dict)
    replaced: dict[str, str] = msgspec.field(default_factory=dict)
    scrapped: set[str] = msgspec.field(default_factory=set)
    withdrawing: dict[str, int] = msgspec.field(default_factory=dict)

    def take(self, placed: Placed, entry: EntryDraft) -> None:
        """Follow one entry; most are of no unit."""
        step = _STEPS.get(entry["type"])
        if step is not None:
            step(self, placed, entry)

    def _open_order(self, placed: Placed, entry: EntryDraft) -> None:
        what = entry["op"]["what"]
        self.orders[what["work_order"]] = Figures(rework=what.get("rework_quantity", 0))

    def _close_order(self, placed: Placed, entry: EntryDraft) -> None:
        what = entry["op"]["what"]
        order: str = what["work_order"]
        self.orders[order].closed = placed.seq
        if "left" in what:
            self.withdrawing[order] = what["left"]
        self.permits = {serial: permit for serial, permit in self.permits.items() if permit.work_order != order}

    def _withdraw(self, placed: Placed, entry: EntryDraft) -> None:
        """A part of what a closing left; most revocations are of something else."""
        what = entry["op"]["what"]
        if (order := what.get("closing")) in self.withdrawing:
            self.withdrawing[order] -= len(what["numbers"])

    def _finish(self, placed: Placed, entry: EntryDraft) -> None:
        self.withdrawing.pop(entry["op"]["what"]["work_order"], None)

    def _refuse(self, placed: Placed, entry: EntryDraft) -> None:
        figures = self.orders.get(entry["op"].get("what", {}).get("work_order", ""))
        why = entry["out"]["why"].partition(":")[0]
        if figures is not None and why != DRAFTED_AGAIN:
            figures.refused += 1
            figures.duplicates += why in DUPLICATES

    def _certify(self, placed: Placed, entry: EntryDraft) -> None:
        if entry["op"].get("kind") not in ISSUED or entry["out"]["status"] != "ok":
            return
        what = entry["op"]["what"]
        figures = self.orders[what["work_order"]]
        figures.certified.add(what["serial"], entry["out"]["doc"])
        if "rework" in what:
            permit = self.permits.pop(what["serial"])
            self.replaced[permit.spki] = what["serial"]
            before = self.orders[permit.before or permit.work_order]
            before.replaced.add(what["serial"], permit.certificate)
            before.built -= permit.confirmed

    def _permit(self, placed: Placed, entry: EntryDraft) -> None:
        what = entry["op"]["what"]
        self.orders[what["work_order"]].reworked += 1
        names = {name: what[name] for name in ("work_order", "certificate", "spki", "confirmed")}
        self.permits[what["serial"]] = Permit(placed.seq, **names, before=what.get("before", ""))

    def _confirm(self, placed: Placed, entry: EntryDraft) -> None:
        what: Mapping[str, Any] = entry["op"]["what"]
        if "out" in entry:  # refused
            return
        figures, permit = self.orders[what["work_order"]], self.permits.get(what["serial"])
        figures.confirmed.add(what["serial"], what["certificate"])
        figures.built += 1
        if permit is not None:
            permit.confirmed = True

    def _scrap(self, placed: Placed, entry: EntryDraft) -> None:
        what = entry["op"]["what"]
        figures = self.orders[what["work_order"]]
        figures.scrapped.add(what["serial"])
        figures.built -= what["confirmed"]
        self.scrapped.add(what["serial"])
        self.permits.pop(what["serial"], None)


_STEPS: Final = {
    "quota.open": Units._open_order,
    "quota.close": Units._close_order,
    "quota.withdrawn": Units._finish,
    "quota.rework": Units._permit,
    "key.sign.denied": Units._refuse,
    "key.sign.outcome": Units._certify,
    "certificate.revoke": Units._withdraw,
    "device.confirm": Units._confirm,
    "device.scrap": Units._scrap,
}
