"""What the keyroom watches stations for: how much they ask, from where, and what was none of their business.

A station that asks three times in a row for what is not its own is suspended, and so is one that two machines speak
for at once. The counts live in memory: a restart forgets two strange requests, never a suspension (an entry).
"""

import ipaddress
from typing import Final

import msgspec

from ceremonies import entries
from ceremonies.commands import Command, ConfirmDevices, IssueDevices
from ceremonies.errors import KeyroomError
from ceremonies.ledger import Ledger
from ceremonies.orders import Actor
from ceremonies.settings import KeyroomSettings
from ceremonies.stations import SUSPEND
from ceremonies.surroundings import Surroundings
from ceremonies.tokens import Identity
from ceremonies.writer import Writer

STRANGE: Final = frozenset({"serial-not-in-order", "binding-mismatch", "key-known", "element-taken"})
"""A serial outside the order, a class, line or plant that is not its own, a key or hardware of another serial."""
BATCHES: Final = (IssueDevices, ConfirmDevices)
"""They count by their items."""
ENOUGH: Final = 3
TOGETHER_US: Final = 300_000_000
"""Within this time a station that moved stays where it moved to: back and forth means that there are two."""
BURST_US: Final = 20_000_000
"""How long a station may save up units for."""
WATCHED: Final = 4096
SELF: Final = Actor(cred="", role="keyroom", src="", sub="vigilance")


class StationTooFast(KeyroomError):
    """A station asks for more units than its share of the keyroom."""

    code = "station-too-fast"


class AddressRefused(KeyroomError):
    """The station's request came from a network that it was not enrolled for."""

    code = "address-refused"


class Watched(msgspec.Struct):
    """What is remembered of one station. spare: millionths of a unit. Times are microseconds of the monotonic clock."""

    spare: int
    since: int
    strange: int = 0
    address: str = ""
    before: str = ""
    moved: int = 0


class Vigilance:
    """Watches every station of a keyroom; called from the event loop."""

    def __init__(self, settings: KeyroomSettings, ledger: Ledger, surroundings: Surroundings, writer: Writer) -> None:
        self._rate = settings.station_rate
        self._ledger = ledger
        self._surroundings = surroundings
        self._writer = writer
        self._watched: dict[str, Watched] = {}

    def spend(self, name: str, command: Command) -> None:
        """A station asks: a bucket that fills by the rate of the settings. A batch may overdraw it, then the station
        waits. This comes before `check`, whose refusals are entries: who is stopped must not fill the journal.

        Raises StationTooFast.
        """
        watched, now = self._find(name), self._surroundings.mono_us()
        watched.spare = min(self._rate * BURST_US, watched.spare + (now - watched.since) * self._rate)
        watched.since = now
        if watched.spare <= 0:
            wait_s = 1 - watched.spare // self._rate // 1_000_000
            raise StationTooFast(
                f"station {name} asks for more than {self._rate} units a second",
                hint=f"wait {wait_s} s, then send the same request again",
                details={"retry_after": wait_s},
            )
        watched.spare -= 1_000_000 * (len(command.items) if isinstance(command, BATCHES) else 1)

    async def check(self, name: str, source: str, *, repeated: bool = False) -> None:
        """A station that asks is stopped by nobody, and comes from where it may. repeated: it may be somebody else who
        says again what the station said, so that its address is not compared with that of before.

        Raises StationSuspended, AddressRefused.
        """
        stations, watched, now = self._ledger.replay.stations, self._find(name), self._surroundings.mono_us()
        stations.check_working(name)
        known, source = stations.enrolled.get(name), write_address(source)
        if known is not None and known.addresses and not is_among(source, known.addresses):
            raise AddressRefused(
                f"station {name} does not come from {source or 'here'}",
                hint="it is enrolled for other networks; enrol it again when it was moved",
            )
        if known is not None and source and not repeated and self._has_twin(watched, source, now):
            await self.suspend(name, f"requests from {watched.before} and {source} by turns")
            stations.check_working(name)

    async def note(self, identity: Identity | None, error: Exception | None) -> None:
        """What became of a request, or of one item of a batch."""
        if identity is None or identity.role != "station":
            return
        watched = self._find(identity.sub)
        if error is None:
            watched.strange = 0
        elif getattr(error, "code", "") in STRANGE:
            watched.strange += 1
            if watched.strange >= ENOUGH:
                await self.suspend(identity.sub, f"{ENOUGH} strange requests in a row, the last: {error}"[:256])
                watched.strange = 0

    async def suspend(self, name: str, reason: str) -> None:
        """Write that a station is suspended, unless it is. The keyroom itself does it."""

        def write() -> None:
            if name not in self._ledger.replay.stations.suspended:
                what = {"reason": reason, "station": name}
                self._ledger.record([entries.event(SUSPEND, SELF, what)])

        await self._writer.run(write, urgent=True)

    def _has_twin(self, watched: Watched, source: str, now: int) -> bool:
        if source == watched.address:
            return False
        back = source == watched.before and now - watched.moved < TOGETHER_US
        watched.before, watched.address, watched.moved = watched.address, source, now
        return back

    def _find(self, name: str) -> Watched:
        if name not in self._watched:
            if len(self._watched) >= WATCHED:
                del self._watched[next(iter(self._watched))]
            self._watched[name] = Watched(self._rate * BURST_US, self._surroundings.mono_us())
        return self._watched[name]


def write_address(source: str) -> str:
    """An address in the one form that is compared; an IPv4 address in IPv6 (RFC 4291 section 2.5.5.2) is itself."""
    try:
        address = ipaddress.ip_address(source)
    except ValueError:
        return source
    return str(getattr(address, "ipv4_mapped", None) or address)


def is_among(source: str, networks: tuple[str, ...]) -> bool:
    """Whether an address lies in one of these networks (CIDR)."""
    try:
        address = ipaddress.ip_address(source)
    except ValueError:
        return False
    return any(address in ipaddress.ip_network(network) for network in networks)
