"""What the journal says of revocations: how many rows each partition has, a digest over them, and the newest lists.

A certificate number has 159 bits; its top 6 say which of 64 partitions of its CA it belongs to. The digest of a
partition is a sum over its rows (`ceremonies.sums`): it does not depend on their order, and grows with the journal.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from ceremonies.sums import Tally, tally_digests

PARTITIONS = 64
COMPLETE = -1
"""In the place of a partition: the one list of a CA whose lists are not partitioned."""


class RevokedRow(msgspec.Struct, frozen=True, order=True, array_like=True, gc=False):
    """A revoked certificate: number (40 hex digits), reason, microseconds since 1970, the entry that revoked it."""

    number: str
    reason: str
    revoked_us: int
    seq: int


class ListFacts(msgspec.Struct, frozen=True):
    """The newest list of a CA's partition: its document, its outcome entry, times in seconds, what it covers."""

    document: str
    seq: int
    number: int
    this_update: int
    next_update: int
    covers: Tally


class Revoked(msgspec.Struct):
    """The facts as of the last entry taken, by CA (SPKI digest) and partition.

    skipped: entries that recoveries gave up. Lists that those released are out there, with numbers of their own.
    """

    tallies: dict[str, dict[int, Tally]] = msgspec.field(default_factory=dict)
    lists: dict[str, dict[int, ListFacts]] = msgspec.field(default_factory=dict)
    skipped: int = 0

    def take(self, seq: int, what: Mapping[str, Any]) -> None:
        """Follow a `certificate.revoke` entry."""
        ca, reason, at = what["ca"], what["reason"], what["at"]
        groups: dict[int, list[RevokedRow]] = {}
        for number in what["numbers"]:
            groups.setdefault(partition_of(number), []).append(RevokedRow(number, reason, at, seq))
        tallies = self.tallies.setdefault(ca, {})
        for partition, rows in groups.items():
            tallies[partition] = tallies.get(partition, Tally()).add(tally_rows(ca, rows))

    def take_list(self, seq: int, entry: Mapping[str, Any]) -> None:
        """Follow the outcome of a list that was signed."""
        what = entry["op"]["what"]
        facts = ListFacts(
            entry["out"]["doc"], seq, what["crl_number"], what["from"], what["until"],
            Tally(what["entries"], what["covers"]),
        )  # fmt: skip
        self.lists.setdefault(entry["keys"][0]["spki"], {})[what["partition"]] = facts

    def tally(self, ca: str, partition: int) -> Tally:
        """What a partition's rows must add up to; all of a CA's for `COMPLETE`."""
        tallies = self.tallies.get(ca, {})
        if partition != COMPLETE:
            return tallies.get(partition, Tally())
        total = Tally()
        for item in list(tallies.values()):  # the writer may add one meanwhile
            total = total.add(item)
        return total

    @property
    def count(self) -> int:
        """How many certificates are revoked."""
        return sum(item.count for tallies in self.tallies.values() for item in tallies.values())


def partition_of(number: str) -> int:
    """The partition of a certificate number in hex, which is below 2^159."""
    return int(number, 16) >> 153


def write_number(number: int) -> str:
    """A certificate number in 40 lowercase hex digits: how reservations, entries and rows name it."""
    return f"{number:040x}"


def tally_rows(ca: str, rows: Iterable[RevokedRow]) -> Tally:
    """Count and sum of rows of one CA."""
    texts = (f"{ca}:{row.number}:{row.reason}:{row.revoked_us}:{row.seq}" for row in rows)
    return tally_digests(hashlib.sha256(text.encode("ascii")).digest() for text in texts)
