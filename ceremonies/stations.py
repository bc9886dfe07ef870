"""Stations as the journal knows them: who was enrolled for what, with which certificates, and who is suspended.

A station that shows a client certificate is known by the certificate's digest: it is one that the door released, so no
path is built at a request. Whatever an entry changes counts from the next request on.
"""

import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from ceremonies.errors import KeyroomError, TokenRefused
from ceremonies.revoked import write_number
from ceremonies.tokens import Identity
from pki.x509.pem import write_pem

KIND: Final = "certificate.station-tls"
ENROL, SUSPEND, RESUME, REVOKE = "station.enrol", "station.suspend", "station.resume", "station.revoke"


class ClientCertificateUnknown(TokenRefused):
    """The client certificate is none that was issued to a station."""

    code = "client-certificate-unknown"


class ClientCertificateExpired(TokenRefused):
    """The station's certificate is not valid any more."""

    code = "client-certificate-expired"


class StationRevoked(TokenRefused):
    """The station was revoked: it never comes back under this name."""

    code = "station-revoked"


class StationSuspended(KeyroomError):
    """The station was suspended, by an officer or because of what it asked for."""

    code = "station-suspended"


class StationUnknown(KeyroomError):
    """There is no such station."""

    code = "station-unknown"


class Station(msgspec.Struct, frozen=True):
    """A station as officers enrolled it. spki: its key. addresses: networks it may come from; empty for any."""

    name: str
    plant: str
    lines: tuple[str, ...]
    classes: tuple[str, ...]
    spki: str
    addresses: tuple[str, ...] = ()
    revoked: bool = False


class StationCertificate(msgspec.Struct, frozen=True):
    """Whose it is, the SHA-256 of its PEM, the entry that released it, its end (RFC 3339, UTC), its number (hex)."""

    station: str
    sha256: str
    seq: int
    not_after: str
    number: str
    revoked: bool = False

    @property
    def expires(self) -> datetime:
        """Its end."""
        return datetime.fromisoformat(self.not_after)


class Stations(msgspec.Struct):
    """Follows the entries about stations.

    enrolled: by name. certificates: by the SHA-256 of their PEM.
    suspended: names, and pseudonyms of those that come with tokens -> entry.
    """

    enrolled: dict[str, Station] = msgspec.field(default_factory=dict)
    certificates: dict[str, StationCertificate] = msgspec.field(default_factory=dict)
    suspended: dict[str, int] = msgspec.field(default_factory=dict)

    def take(self, kind: str, seq: int, what: Mapping[str, Any]) -> None:
        """Follow one entry of the family `station`."""
        name = what["station"]
        if kind == ENROL:
            facts = {field: what[field] for field in ("plant", "lines", "classes", "spki", "addresses")}
            self.enrolled[name] = msgspec.convert({"name": name, **facts}, Station)
        elif kind == SUSPEND:
            self.suspended[name] = seq
        elif kind == RESUME:
            self.suspended.pop(name, None)
        elif kind == REVOKE:
            self.enrolled[name] = msgspec.structs.replace(self.enrolled[name], revoked=True)

    def take_certificate(self, document: str, seq: int, what: Mapping[str, Any]) -> None:
        """Follow the outcome of a station's certificate."""
        number = write_number(int(what["certificate_number"], 16))
        self.certificates[document] = StationCertificate(what["station"], document, seq, what["not_after"], number)

    def take_revocation(self, seq: int, numbers: Iterable[str]) -> None:
        """Follow a revocation: such a certificate never counts again, and its station waits for officers."""
        revoked = set(numbers)
        for known in [item for item in self.certificates.values() if item.number in revoked]:
            self.certificates[known.sha256] = msgspec.structs.replace(known, revoked=True)
            self.suspended[known.station] = seq

    def newest(self, name: str) -> StationCertificate | None:
        """A station's last certificate that was not revoked."""
        # A copy: the writer may add one meanwhile.
        own = [item for item in list(self.certificates.values()) if item.station == name and not item.revoked]
        return max(own, key=lambda certificate: certificate.seq, default=None)

    def identify(self, certificate: bytes, now: datetime) -> Identity:
        """Who shows this certificate (DER).

        Raises ClientCertificateUnknown, ClientCertificateExpired, StationRevoked.
        """
        known = self.certificates.get(hashlib.sha256(write_pem(certificate, "CERTIFICATE")).hexdigest())
        if known is None:
            raise ClientCertificateUnknown(
                "the client certificate was issued to no station", hint="enrol the station, or send a token"
            )
        name, expires = known.station, known.expires
        station = self.enrolled[name]
        self._check_enrolled(name)
        if known.revoked or now >= expires:
            raise ClientCertificateExpired(
                f"the certificate of station {name} {'was revoked' if known.revoked else 'has expired'}",
                hint="`kedge station certify`",
            )
        bindings = {"plant": (station.plant,), "line": station.lines, "class": station.classes, "station": (name,)}
        return Identity("station", name, "", "", station.spki, expires, bindings, {})

    def check_working(self, name: str) -> None:
        """Raises StationRevoked, StationSuspended. Who comes with tokens is known by pseudonym."""
        self._check_enrolled(name)
        if name in self.suspended:
            raise StationSuspended(
                f"station {name} is suspended since entry {self.suspended[name]}",
                hint="call the supervisor; officers resume it by a ceremony (station-resume)",
            )

    def _check_enrolled(self, name: str) -> None:
        if name in self.enrolled and self.enrolled[name].revoked:
            raise StationRevoked(f"station {name} was revoked", hint="enrol it under another name")

    def get(self, name: str) -> Station:
        """The station of this name. Raises StationUnknown."""
        if name not in self.enrolled:
            raise StationUnknown(f"no station {name}", hint="list them (`kedge station list`)")
        return self.enrolled[name]
