"""Circuits of the tokens: probed while they are open, told in readiness and metrics, probes recorded once an hour."""

from collections.abc import Sequence
from typing import Any, Final, Protocol

import structlog

from ceremonies import entries
from ceremonies.door import key_name
from ceremonies.orders import Actor
from ceremonies.room import Room
from ceremonies.settings import PROBE

log = structlog.get_logger()

PROBER: Final = Actor(cred="", role="keyroom", src="", sub="probe")
ALARM: Final = "token "


class Report(Protocol):
    """How a place of a token is; see `hsm.circuit`."""

    @property
    def token(self) -> str:
        """The keyroom's name of the token."""

    @property
    def place(self) -> str:
        """Where it is."""

    @property
    def is_open(self) -> bool:
        """Whether its circuit is open: nothing is asked of it."""

    @property
    def probes(self) -> int:
        """Probes since the start."""

    @property
    def failed_probes(self) -> int:
        """Those that failed."""

    @property
    def why(self) -> str:
        """What it said last when it failed."""


class Circuits(Protocol):
    """What tending needs of the strongbox."""

    @property
    def reports(self) -> Sequence[Report]:
        """Every place."""

    def tend(self, probes: Sequence[Any]) -> None:
        """Probe what is due, with these keys (hsm.keys.KeyName)."""


class Tending:
    """Looks at the circuits every second or so."""

    def __init__(self, room: Room, circuits: Circuits) -> None:
        self._room = room
        self._circuits = circuits
        self._open: frozenset[str] = frozenset()
        self._recorded: dict[str, tuple[int, int]] = {}

    async def tend(self) -> None:
        """Probe what is due, on the writer's thread, ahead of what waits; nothing while all circuits are closed."""
        if any(report.is_open for report in self._circuits.reports):
            await self._room.writer.run(self._probe, urgent=True)
        self.tell()

    def _probe(self) -> None:
        self._circuits.tend([key_name(key) for key in self._room.door.keyring.active(PROBE)])

    def tell(self) -> None:
        """Bring readiness and metrics up to date, log what opened or closed. A token without a place is a problem."""
        reports, room = self._circuits.reports, self._room
        is_open = {f"{report.token}: {report.place}": report for report in reports if report.is_open}
        for name in is_open.keys() - self._open:
            log.critical("a token's circuit is open", place=name, why=is_open[name].why)
        for name in self._open - is_open.keys():
            log.warning("a token is back", place=name)
        self._open = frozenset(is_open)
        room.counters["circuits_open"] = len(is_open)
        room.counters["probes"] = sum(report.probes for report in reports)
        room.counters["probes_failed"] = sum(report.failed_probes for report in reports)
        working = {report.token for report in reports if not report.is_open}
        for token in {report.token for report in reports}:
            room.alarms.pop(ALARM + token, None)
            if token not in working:
                room.alarms[ALARM + token] = f"token {token} does not work: nothing is asked of it but probes"

    async def record_probes(self) -> None:
        """One entry for the probes since the last one; none when there were none."""
        new = [report for report in self._circuits.reports if self._counts(report) != self._recorded.get(report.place)]
        places = [
            {
                "failed": report.failed_probes - self._recorded.get(report.place, (0, 0))[1],
                "place": report.place,
                "probes": report.probes - self._recorded.get(report.place, (0, 0))[0],
                "token": report.token,
            }
            for report in new
            if report.probes
        ]
        if not places:
            return
        await self._room.act(lambda: self._room.ledger.record([entries.event("probe", PROBER, {"places": places})]))
        self._recorded |= {report.place: self._counts(report) for report in new}

    def _counts(self, report: Report) -> tuple[int, int]:
        return report.probes, report.failed_probes
