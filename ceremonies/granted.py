"""What the entries say of site boxes and their quota grants. Part of `ceremonies.replay`.

At a box: the centre that it belongs to, and the grants that it holds. At the centre: its boxes, the grants that were
made, and how far each box's journal was settled.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

CENTRE: Final = "grant.centre"
IMPORT: Final = "grant.import"
BOX: Final = "grant.box"
MAKE: Final = "grant.make"
SETTLE: Final = "grant.settle"
STRAY: Final = "grant.stray"


class Centre(msgspec.Struct, frozen=True):
    """The centre of a site box: the name of the plant there; digests of its root's certificate and first trust set."""

    plant: str
    root: str
    trust_set: str


class Grant(msgspec.Struct, frozen=True):
    """A grant: leave of a CA key (SPKI digest) for `quantity` certificates of these classes (hex id) and profiles.

    document: its digest. used: certificates begun under it. seq: the entry that took it. Times are seconds since 1970.
    facts: digest of what the centre's policy said of the fleet; empty for a grant of an earlier release.
    """

    id: str
    number: int
    ca: str
    quantity: int
    profiles: tuple[str, ...]
    classes: tuple[str, ...]
    valid_from: int
    valid_to: int
    document: str
    used: int = 0
    seq: int = 0
    facts: str = ""

    @property
    def left(self) -> int:
        """Certificates that may still be begun."""
        return self.quantity - self.used


class Box(msgspec.Struct, frozen=True):
    """A site box as the centre knows it: label of its CA, plant, CA key (SPKI digest), digest of the policy by which
    its journal is read, with the keys that sign it now.

    size: entries that were settled. checkpoint, state: digests of the checkpoint over them, and of what they led to.
    medium, report, seq: of the last settlement the digests of medium and answer, and its entry.
    """

    label: str
    plant: str
    ca: str
    policy: str
    size: int = 0
    checkpoint: str = ""
    state: str = ""
    medium: str = ""
    report: str = ""
    seq: int = 0


class Grants(msgspec.Struct):
    """held: grants of this box by id; made: those of the centre. papers: documents that were imported, digest to kind.

    roots: certificates of roots that followed the centre's first one here. sets: trust sets that were imported.
    certificates, devices: rows that settlements have left.
    """

    centre: Centre | None = None
    held: dict[str, Grant] = msgspec.field(default_factory=dict)
    made: dict[str, Grant] = msgspec.field(default_factory=dict)
    boxes: dict[str, Box] = msgspec.field(default_factory=dict)
    papers: dict[str, str] = msgspec.field(default_factory=dict)
    roots: list[str] = msgspec.field(default_factory=list)
    sets: int = 0
    certificates: int = 0
    devices: int = 0

    def take(self, kind: str, seq: int, what: Mapping[str, Any]) -> None:
        """Follow a `grant.*` entry."""
        if kind == CENTRE:
            self.centre = Centre(what["plant"], what["root"], what["trust_set"])
            self.papers[what["root"]] = "certificate.identity-root"
            self.sets += 1
        elif kind == IMPORT:
            self.held[what["grant"]] = msgspec.structs.replace(read_grant(what), seq=seq)
            self.papers[what["certificate"]] = "certificate.device-ca"
            self.sets += what["sets"]
            if "root" in what:
                self.papers[what["root"]["certificate"]] = "certificate.identity-root"
                self.papers[what["root"]["link"]] = "certificate.root-link"
                self.roots.append(what["root"]["certificate"])
        elif kind == BOX:
            self.boxes[what["box"]] = Box(what["box"], what["plant"], what["ca"], what["policy"])
        elif kind == MAKE:
            self.made[what["grant"]] = read_grant(what)
        elif kind == SETTLE:
            facts = {name: what[name] for name in ("size", "checkpoint", "state", "medium", "report")}
            facts |= {"policy": what["policy"]} if "policy" in what else {}
            self.boxes[what["box"]] = msgspec.structs.replace(self.boxes[what["box"]], **facts, seq=seq)
            self.certificates += what["certificates"]
            self.devices += what["devices"]

    def count(self, name: str) -> None:
        """One certificate more was begun under a grant."""
        grant = self.held[name]
        self.held[name] = msgspec.structs.replace(grant, used=grant.used + 1)

    def current(self, ca: str) -> Grant | None:
        """The grant of a CA that is in force at this box: the one with the highest number."""
        own = (grant for grant in list(self.held.values()) if grant.ca == ca)
        return max(own, key=lambda grant: grant.number, default=None)


def read_grant(what: Mapping[str, Any]) -> Grant:
    """The grant that an entry names."""
    plain = {name: what[name] for name in ("number", "ca", "quantity", "valid_from", "valid_to", "document")}
    plain["facts"] = what.get("facts", "")
    return Grant(what["grant"], profiles=tuple(what["profiles"]), classes=tuple(what["classes"]), **plain)


def list_facts(grant: Grant) -> dict[str, Any]:
    """`op.what` of an entry about a grant."""
    facts = {name: getattr(grant, name) for name in ("number", "ca", "quantity", "valid_from", "valid_to", "document")}
    facts |= {"facts": grant.facts} if grant.facts else {}
    return {**facts, "grant": grant.id, "classes": list(grant.classes), "profiles": list(grant.profiles)}
