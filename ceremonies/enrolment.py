"""Provisioning stations: enrolled by a ceremony, certified on their own request, stopped by any officer.

Officers approve a station's name, its place and its key. From then on whoever proves possession of that key gets the
station's certificate, again and again before it ends: no officer is needed, and nobody else gains anything by it.
"""

import hashlib
import ipaddress
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from ceremonies import entries
from ceremonies.certified import load_chain, read_issued, read_signer, reserve_number
from ceremonies.commands import (
    IssueStation,
    ListStations,
    Proven,
    RevokeStation,
    StationIssued,
    StationShown,
    StationsListed,
    SuspendStation,
)
from ceremonies.desk import Caller
from ceremonies.errors import KeyroomError
from ceremonies.generations import AuthorityNotIssuing
from ceremonies.genesis import draw_number
from ceremonies.issuers import load_issuer
from ceremonies.orders import Order, RequestKey, Sealed
from ceremonies.plans import Name, PlanMalformed, read_plan, write_plan
from ceremonies.procedures import Action, Closing, LastWords
from ceremonies.quorums import StepOutdated
from ceremonies.revocations import Grounds, revoke_changes
from ceremonies.room import Room
from ceremonies.stations import (
    ENROL,
    RESUME,
    REVOKE,
    SUSPEND,
    Station,
    StationCertificate,
    Stations,
)
from pki.names import ServiceSubject
from pki.x509.certificates import draft_prepared, prepare_certificate
from pki.x509.issuers import Issuer, read_organization
from pki.x509.profiles import find_profile
from pki.x509.requests import check_request, parse_request, prove_possession
from pki.x509.terms import Terms

LIFE: Final = timedelta(days=30)
RENEWED_BELOW: Final = LIFE / 3
Names = Annotated[tuple[Name, ...], Meta(min_length=1, max_length=64)]
Classes = Annotated[tuple[Name, ...], Meta(max_length=64)]


class StationKeyWrong(KeyroomError):
    """The request's key is not the one that the station was enrolled with."""

    code = "station-key-wrong"


class StationPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A station: name, place, device classes, its key (hex SHA-256 of SubjectPublicKeyInfo), networks it may come from
    (CIDR; none for any). One without classes issues nothing: a screen (docs/adr/0015).
    """

    station: Name
    plant: Name
    lines: Names
    classes: Classes
    key: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
    addresses: Annotated[tuple[str, ...], Meta(max_length=16)] = ()


class StationResumePlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A suspended station that may work again."""

    station: Name
    reason: Annotated[str, Meta(min_length=1, max_length=256)]


class Enrolment:
    """Certificates of stations, and their end."""

    def __init__(self, room: Room) -> None:
        self._room = room

    async def issue(self, command: IssueStation, caller: Caller) -> StationIssued:
        """The station's certificate. Raises StationUnknown, StationRevoked, StationSuspended, StationKeyWrong."""
        room = self._room
        parsed = parse_request(command.csr)
        station = self._find(command.station)
        # Anybody may ask this: no signature of a stranger's key, of whatever size, is verified.
        if parsed.request.spki != station.spki:
            raise StationKeyWrong(
                f"the request is not signed by the key of station {station.name}",
                hint="enrol the new key under a new name, or use the enrolled one",
            )
        request, profile = prove_possession(parsed), find_profile("station-tls")
        check_request(request, profile)
        known = room.ledger.replay.stations.newest(station.name)
        if known is not None and room.door.now() < known.expires - RENEWED_BELOW:
            return await room.act(lambda: self._repeat(known))
        number, issuer, chain = await room.act(self._prepare)
        now = room.door.now().replace(microsecond=0)
        subject = ServiceSubject(read_organization(issuer), station.name, station.plant)
        terms = Terms(number, now, now + LIFE)
        prepared = prepare_certificate(profile, subject, request.public_key, issuer, terms)
        csr = hashlib.sha256(request.der).hexdigest()
        draft = draft_prepared(profile, issuer.public_key, prepared, station=station.name, csr=csr)
        key = RequestKey(f"station/{station.name}:{number:x}", draft.digest, b"{}")
        order = Order(
            draft=draft, by=caller.actor, name=station.name, request=key, blobs=(request.der,),
            reserve=(reserve_number(number),),
        )  # fmt: skip
        try:
            return answer(station.name, await room.seal(order), chain)
        except AuthorityNotIssuing:  # its next generation took over while this waited
            room.cache.pop("service-ca", None)
            return await self.issue(command, caller)

    def _find(self, name: str) -> Station:
        stations = self._room.ledger.replay.stations
        station = stations.get(name)
        stations.check_working(name)
        return station

    def _prepare(self) -> tuple[int, Issuer, bytes]:
        """A number, the CA, and its chain. Writer's thread."""
        number = draw_number(self._room.door.strongbox.random(20))
        return (number, *self._room.cached("service-ca", lambda: load_issuer(self._room, "service-ca")))

    def _repeat(self, known: StationCertificate) -> StationIssued:
        """The certificate of before. Writer's thread."""
        sealed = self._room.ledger.recall(known.sha256, known.seq)
        return answer(known.station, sealed, load_chain(self._room, read_signer(sealed.entry)))

    async def list(self, command: ListStations, caller: Caller) -> StationsListed:
        """All stations."""
        stations = self._room.ledger.replay.stations
        enrolled = [show_station(station, stations) for station in list(stations.enrolled.values())]
        others = [StationShown(name, "suspended") for name in list(stations.suspended) if name not in stations.enrolled]
        return StationsListed((*enrolled, *others))

    async def suspend(self, command: SuspendStation, caller: Caller) -> StationsListed:
        """Stop a station. One that is suspended already stays so, and the later entry counts."""
        return await self._stop(SUSPEND, command.station, command.reason, caller)

    async def revoke(self, command: RevokeStation, caller: Caller) -> StationsListed:
        """Stop a station for good, and revoke its certificates: others may ask for them. Raises StationUnknown."""
        self._room.ledger.replay.stations.get(command.station)
        return await self._stop(REVOKE, command.station, command.reason, caller)

    async def _stop(self, kind: str, name: str, reason: str, caller: Caller) -> StationsListed:
        if caller.identity is not None:
            self._room.door.require_governing().roster.officer(caller.identity.only("officer"))
        what = {"reason": reason or "no reason given", "station": name}
        draft, ledger = entries.event(kind, caller.actor, what), self._room.ledger

        def write() -> None:
            words = self._withdraw(name, caller) if kind == REVOKE else LastWords()
            ledger.commit(
                lambda _: [draft, *words.drafts],
                lambda placed: (words.changes(placed[1:]), ()),
                settles=ledger.settled,
            )

        await self._room.act(write, urgent=True)
        return await self.list(ListStations(), caller)

    def _withdraw(self, name: str, caller: Caller) -> LastWords:
        """What revokes the certificates of a station that have not ended. Writer's thread. Raises JournalForked."""
        room = self._room
        own = [item for item in room.ledger.replay.stations.certificates.values() if item.station == name]
        issued = [read_issued(room, item.seq) for item in own if room.door.now() < item.expires]
        grounds = Grounds("privilegeWithdrawn", "the station was revoked", {"station": name})
        return revoke_changes(room, issued, grounds, caller.actor)


def answer(name: str, sealed: Sealed, chain: bytes) -> StationIssued:
    """What a station gets."""
    proven = Proven(sealed.seq, sealed.entry, sealed.proof)
    return StationIssued(name, sealed.document, chain, sealed.replayed, proven)


def show_station(station: Station, stations: Stations) -> StationShown:
    """A station as it stands."""
    newest = stations.newest(station.name)
    state = "revoked" if station.revoked else "suspended" if station.name in stations.suspended else "enrolled"
    return StationShown(
        station.name, state, station.plant, station.lines, station.classes, station.addresses, station.spki,
        newest.not_after if newest else "",
    )  # fmt: skip


def prepare_enrol(room: Room, data: bytes) -> dict[str, Any]:
    """A station whose name and key are new. Raises PlanMalformed, ClassUnknown."""
    plan: StationPlan = read_plan(data, StationPlan)
    fleet = room.door.require_governing().policy.fleet
    for name in plan.classes:
        fleet.device_class(name)
    try:
        networks = [ipaddress.ip_network(text) for text in plan.addresses]
    except ValueError as error:
        raise PlanMalformed(f"station: {error}", hint="write addresses as networks, such as 192.0.2.0/24") from error
    shown = {"content": write_plan(plan) | {"addresses": [str(network) for network in networks]}}
    guard_enrol(room, shown)
    return shown


def guard_enrol(room: Room, shown: Mapping[str, Any]) -> None:
    """No station of this name or key, at the opening and at the execution. Raises PlanMalformed."""
    for station in room.ledger.replay.stations.enrolled.values():
        if station.name == shown["content"]["station"]:
            raise PlanMalformed(f"station {station.name} exists", hint="names are not used again: choose another")
        if station.spki == shown["content"]["key"]:
            raise PlanMalformed(f"station {station.name} has this key", hint="each station makes a key of its own")


def close_enrol(room: Room, shown: Mapping[str, Any], closing: Closing) -> LastWords:
    """Enrol the station: from now on it gets certificates."""
    guard_enrol(room, shown)
    content = dict(shown["content"])
    what = {**content, "spki": content.pop("key")}
    return LastWords([entries.event(ENROL, closing.by, what, **closing.context)])


def prepare_resume(room: Room, data: bytes) -> dict[str, Any]:
    """A suspended station, with the entry that suspended it: a later suspension stands. Raises PlanMalformed."""
    plan: StationResumePlan = read_plan(data, StationResumePlan)
    seq = room.ledger.replay.stations.suspended.get(plan.station)
    if seq is None:
        raise PlanMalformed(f"station {plan.station} is not suspended", hint="list them (`kedge station list`)")
    return {"content": write_plan(plan), "suspended": seq}


def guard_resume(room: Room, shown: Mapping[str, Any]) -> None:
    """The suspension is still the one that the officers saw. Raises StepOutdated."""
    if room.ledger.replay.stations.suspended.get(shown["content"]["station"]) != shown["suspended"]:
        raise StepOutdated(f"station {shown['content']['station']} was suspended anew", hint="propose a new ceremony")


def close_resume(room: Room, shown: Mapping[str, Any], closing: Closing) -> LastWords:
    """The station may work again."""
    guard_resume(room, shown)
    return LastWords([entries.event(RESUME, closing.by, shown["content"], **closing.context)])


STATION_ENROL_ACTION = Action(prepare=prepare_enrol, kinds=(ENROL,), guard=guard_enrol, close=close_enrol)
STATION_RESUME_ACTION = Action(prepare=prepare_resume, kinds=(RESUME,), guard=guard_resume, close=close_resume)
