"""Site boxes and their quota grants."""

from typing import Annotated

from msgspec import Meta

from ceremonies.commands.command import STAFF, Command, Hex32, Name

PARTS_LIMIT = 32
STRAYS_LIMIT = 500


class ListGrants(Command, frozen=True, tag="list-grants"):
    """At a centre: its boxes, the grants made, and what is settled of them. At a site box: the grants that it holds."""

    roles = STAFF


class SettleBox(Command, frozen=True, tag="settle-box"):
    """Read the journal of a site box from a medium (a ustar archive of an export), uploaded in parts, by their SHA-256.

    What is found is told and recorded; `dry_run` only tells.
    """

    roles = frozenset({"officer"})
    box: Name
    parts: Annotated[tuple[Hex32, ...], Meta(min_length=1, max_length=PARTS_LIMIT)]
    dry_run: bool = False


class FindStrays(Command, frozen=True, tag="find-strays"):
    """Certificates that were seen somewhere: which of those by the CA of a site box are not in its journal?"""

    roles = STAFF
    certificates: Annotated[
        tuple[Annotated[bytes, Meta(max_length=1 << 14)], ...], Meta(min_length=1, max_length=STRAYS_LIMIT)
    ]
