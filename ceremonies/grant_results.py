"""What the keyroom answers about site boxes and grants. Exported by `ceremonies.commands`."""

from msgspec import Struct


class GrantShown(Struct, frozen=True):
    """A grant. used: at a box what it has begun, at a centre what is settled. Times are seconds since 1970."""

    id: str
    box: str
    number: int
    quantity: int
    used: int
    profiles: tuple[str, ...]
    classes: tuple[str, ...]
    valid_from: int
    valid_to: int
    document: str
    current: bool


class BoxShown(Struct, frozen=True):
    """A site box: the label of its CA, plant, CA key (SPKI SHA-256), and what is settled: entries, certificates begun,
    the time of the last entry, and the checkpoint (a note) from which its next export goes on.
    """

    box: str
    plant: str
    ca: str
    size: int
    used: int
    time: str
    checkpoint: bytes


class GrantsListed(Struct, frozen=True, tag="grants-listed"):
    """plant: that of this keyroom when it is a site box, else empty."""

    plant: str
    boxes: tuple[BoxShown, ...]
    grants: tuple[GrantShown, ...]


class FindingShown(Struct, frozen=True):
    """Something that should not be: stable code, entry of the box's journal, device, a sentence."""

    code: str
    index: int
    serial: str
    said: str


class BoxSettled(Struct, frozen=True, tag="box-settled"):
    """A journal that was read from entry `since` to `size`. certificates: in it; devices: new in the register.

    counts: confirmed, scrapped, revoked, refused. used: certificates begun, by grant, from the first entry on.
    findings: the first thousand of `findings_count`; alarm: whether one of them is no consequence of a crash.
    index: the entry that records this; 0 for a dry run.
    """

    box: str
    since: int
    size: int
    certificates: int
    devices: int
    counts: dict[str, int]
    used: dict[str, int]
    findings: tuple[FindingShown, ...]
    findings_count: int
    alarm: bool
    index: int


class StrayVerdict(Struct, frozen=True):
    """A certificate that was seen. state: `known`; `unsettled`, newer than what was settled; `stray`, not in the
    journal of its box; `foreign`, by no CA of a site box.
    """

    number: str
    box: str
    state: str


class StraysFound(Struct, frozen=True, tag="strays-found"):
    """One verdict for each certificate, in order."""

    verdicts: tuple[StrayVerdict, ...]
