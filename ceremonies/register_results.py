"""What the keyroom answers about devices after the factory. Exported by `ceremonies.commands`."""

from msgspec import Struct


class StatementVerdict(Struct, frozen=True, omit_defaults=True):
    """What became of a statement: the device's state now; of a refused one `code`, message and hint say why."""

    serial: str
    state: str
    code: str = ""
    message: str = ""
    hint: str = ""


class StatementsRecorded(Struct, frozen=True, tag="statements-recorded"):
    """One verdict for each statement, in order; `index` is the entry that names the answer."""

    verdicts: tuple[StatementVerdict, ...]
    index: int
    replayed: bool


class BadLine(Struct, frozen=True):
    """A line of an import (the heading is line 1) that cannot be done, and why."""

    line: int
    why: str


class ImportChecked(Struct, frozen=True, tag="import-checked"):
    """How many statements of each act the file has; its bad lines, the first of `bad_count`."""

    acts: dict[str, int]
    bad: tuple[BadLine, ...]
    bad_count: int


class FleetDevice(Struct, frozen=True, omit_defaults=True):
    """A device: where the register says it is, and what it said in its newest verified receipt.

    heard: when that came, seconds since 1970, 0 when none did; then what follows says nothing. set_index: of the trust
    set that it holds. firmware: the highest version in a confirmed slot. alarm: the rule by which a later, true receipt
    was refused. baseline: met, off, or none when the newest baseline does not name its class.
    """

    serial: str
    class_name: str
    ueid: str
    work_order: str
    state: str
    operator: str = ""
    site: str = ""
    rack: str = ""
    asset: str = ""
    link: str = ""
    since: int = 0
    heard: int = 0
    set_index: int = 0
    stable: bool = False
    firmware: str = ""
    floors: dict[str, int] = {}
    alarm: str = ""
    baseline: str = ""


class FleetQueried(Struct, frozen=True, tag="fleet-queried"):
    """Devices by serial; ask again with `following` as `after` until it is empty. `baseline`: its sequence, or 0."""

    devices: tuple[FleetDevice, ...]
    following: str
    baseline: int


class LabelShown(Struct, frozen=True, tag="label-shown"):
    """What stands on a label; `text` is for its QR code. `lfdi` is empty where the profile has none."""

    serial: str
    class_name: str
    lfdi: str
    text: str
