"""Provisioning stations: their certificates, and stopping them."""

from ceremonies.commands.command import LOCAL, PUBLIC, STAFF, Command, Csr, Name, Text


class IssueStation(Command, frozen=True, tag="issue-station"):
    """The TLS client certificate of an enrolled station; `csr` is PKCS#10 with the enrolled key, PEM or DER.

    Public: the request proves possession of that key. The same certificate until a third of its life is left.
    """

    roles = PUBLIC
    signs = True
    station: Name
    csr: Csr


class ListStations(Command, frozen=True, tag="list-stations"):
    """Every station, and whoever else is suspended as one."""

    roles = STAFF | LOCAL


class SuspendStation(Command, frozen=True, tag="suspend-station"):
    """Stop a station at once; by name, or by pseudonym when it comes with tokens. A ceremony resumes it."""

    roles = frozenset({"officer"})
    urgent = True
    station: Name
    reason: Text


class RevokeStation(Command, frozen=True, tag="revoke-station"):
    """Stop an enrolled station for good: none of its certificates counts any more, and its name is spent."""

    roles = frozenset({"officer"})
    urgent = True
    station: Name
    reason: Text
