"""What the keyroom answers: a frozen Struct per command, or a Problem. Exported by `ceremonies.commands`."""

from msgspec import Struct, field

from ceremonies.board_results import LineBoardShown
from ceremonies.element_results import ElementsListed, ManifestChecked, TpmActivated, TpmChallenged
from ceremonies.factory_results import (
    CmpAnswered,
    DeviceIssued,
    DevicesConfirmed,
    DevicesIssued,
    StationIssued,
    StationsListed,
)
from ceremonies.grant_results import BoxSettled, GrantsListed, StraysFound
from ceremonies.outcomes import Proven
from ceremonies.register_results import FleetQueried, ImportChecked, LabelShown, StatementsRecorded
from ceremonies.revocation_results import CertificateShown, RevocationPreviewed, RevocationsListed, StatusAnswered
from ceremonies.tallies import (
    DeviceConfirmed,
    DeviceScrapped,
    ReworkPermitted,
    UnitsReported,
    WorkOrderShown,
    WorkOrdersListed,
)


class Uploaded(Struct, frozen=True, tag="uploaded"):
    """How many bytes of the artefact are there; complete when the last chunk was and the digest fits."""

    digest: str
    size: int
    complete: bool


class ReleaseSigned(Struct, frozen=True, tag="release-signed"):
    """The signed image, its COSE firmware manifest, and where the journal records each."""

    id: str
    version: str
    image: bytes
    image_proven: Proven
    manifest: bytes
    manifest_proven: Proven
    replayed: bool


class StepShown(Struct, frozen=True):
    """A step: the statement template (JCS, without officer and decision), what it covers (JSON), who decided."""

    step: str
    template: bytes
    shown: bytes
    decisions: tuple[tuple[str, str], ...]
    done: bool


class CeremonyShown(Struct, frozen=True, tag="ceremony-shown"):
    """A ceremony and its steps. `documents` are what executed steps produced: (kind, name, digest).

    `roster` is the roster in force (JCS); the templates of its time have its digest in their `params`.
    """

    id: str
    action: str
    state: str
    proposer: str
    chg: str
    plan: bytes
    steps: tuple[StepShown, ...]
    documents: tuple[tuple[str, str, str], ...] = ()
    roster: bytes = b""


class CeremoniesListed(Struct, frozen=True, tag="ceremonies-listed"):
    """(id, action, state, proposer) of each ceremony."""

    ceremonies: tuple[tuple[str, str, str, str], ...]


class ReceiptsTaken(Struct, frozen=True, tag="receipts-taken"):
    """Per receipt, in order: "" when accepted, else the rule that refused it."""

    verdicts: tuple[str, ...]
    index: int


class DocumentRead(Struct, frozen=True, tag="document-read"):
    """A document and where the journal records it."""

    kind: str
    name: str
    document: bytes
    proven: Proven


class DocumentsListed(Struct, frozen=True, tag="documents-listed"):
    """(name, digest, bytes) of each document."""

    documents: tuple[tuple[str, str, bytes], ...]


class KeyShown(Struct, frozen=True):
    """A key without its secret. `public_key` is SPKI DER, empty for keys that stay unpublished (recovery).

    standing: of a CA with a certificate `issuing`, `pending` or `superseded`, by its generation; else empty.
    """

    label: str
    role: str
    scope: str
    algorithm: str
    state: str
    spki: str
    uses: int
    public_key: bytes
    standing: str = ""


class KeysListed(Struct, frozen=True, tag="keys-listed"):
    """All keys."""

    keys: tuple[KeyShown, ...]


class ProofShown(Struct, frozen=True, tag="proof-shown"):
    """Entry and proof."""

    proven: Proven


class TileRead(Struct, frozen=True, tag="tile-read"):
    """The bytes of a tile."""

    data: bytes


class JournalPart(Struct, frozen=True, tag="journal-part"):
    """Files (path, bytes) of an export at tree size `size`; `cursor` asks for the next part, empty at the end."""

    size: int
    files: tuple[tuple[str, bytes], ...]
    cursor: str


class AssetShown(Struct, frozen=True, omit_defaults=True):
    """The device or product that an event is about, as far as the journal names it."""

    serial: str = ""
    class_name: str = field(default="", name="class")
    plant: str = ""
    work_order: str = ""


class EventShown(Struct, frozen=True, omit_defaults=True):
    """A journal entry for monitoring, or an alarm of the keyroom. No proof: the entry at `index` is.

    `index` is the entry's; of an alarm the number of entries when it was raised. `type` is the entry's type, or
    `alarm`. `change` is the change id that the caller gave. `alarm` names a page in docs/runbooks; `state` is `raised`
    or `cleared`. `said` is for people, cut to 500 characters.
    """

    index: int
    time: str
    type: str
    severity: str
    v: int
    log: str = ""
    node: str = ""
    id: str = ""
    kind: str = ""
    status: str = ""
    asset: AssetShown = AssetShown()
    change: str = ""
    ceremony: str = ""
    request: str = ""
    actor: str = ""
    role: str = ""
    keys: tuple[str, ...] = ()
    alarm: str = ""
    state: str = ""
    said: str = ""


class EventsListed(Struct, frozen=True, tag="events-listed"):
    """Events in the journal's order; ask again from `following` on. `size` is how many entries there are."""

    events: tuple[EventShown, ...]
    following: int
    size: int


class HealthShown(Struct, frozen=True, tag="health-shown"):
    """`ready`: keys can be used. problems: every alarm that stands, also those of work that is late only. metrics:
    counters and gauges by name.
    """

    ready: bool
    problems: tuple[str, ...]
    origin: str
    vkey: str
    size: int
    software_sha256: str
    metrics: dict[str, float]


AnyResult = (
    DeviceIssued
    | CertificateShown
    | LineBoardShown
    | RevocationPreviewed
    | RevocationsListed
    | StatusAnswered
    | DevicesIssued
    | Uploaded
    | ReleaseSigned
    | CeremonyShown
    | CeremoniesListed
    | ReceiptsTaken
    | DocumentRead
    | GrantsListed
    | BoxSettled
    | StraysFound
    | DocumentsListed
    | KeysListed
    | ProofShown
    | TileRead
    | JournalPart
    | EventsListed
    | StationIssued
    | StationsListed
    | HealthShown
    | DeviceConfirmed
    | DevicesConfirmed
    | ReworkPermitted
    | DeviceScrapped
    | WorkOrdersListed
    | WorkOrderShown
    | UnitsReported
    | StatementsRecorded
    | ImportChecked
    | FleetQueried
    | LabelShown
    | ElementsListed
    | ManifestChecked
    | TpmActivated
    | TpmChallenged
    | CmpAnswered
)
