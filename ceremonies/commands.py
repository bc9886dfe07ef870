"""Everything that the keyroom can be asked. This file is the whole surface between the API and the keys.

The answers stand in `ceremonies.results` and are exported here.

Each command is a frozen, tagged Struct; unknown fields are refused. `roles` says who may ask: the keyroom verifies the
token itself. `local` commands are taken on the Unix socket from the operator's own uid only, never from the API.
Digests are lowercase hex SHA-256; documents are the exact bytes of the file that Kedge hands out.
"""

from typing import Annotated, ClassVar, Literal

from msgspec import Meta, Struct

from ceremonies.results import (  # isort: skip
    AnyResult, AssetShown, CeremoniesListed, CeremonyShown, DeviceIssued, DevicesIssued, DocumentRead, DocumentsListed,
    EventShown, EventsListed, HealthShown, JournalPart, KeyShown, KeysListed, Problem, ProofShown, Proven,
    ReceiptsTaken, ReleaseSigned, StepShown, TileRead, Uploaded,
)  # fmt: skip

Hex32 = Annotated[str, Meta(pattern="^[0-9a-f]{64}\\Z")]
Name = Annotated[str, Meta(min_length=1, max_length=64, pattern="^[A-Za-z0-9][A-Za-z0-9._-]*\\Z")]
Text = Annotated[str, Meta(max_length=256)]
RequestId = Annotated[str, Meta(min_length=8, max_length=80, pattern="^[A-Za-z0-9][A-Za-z0-9._:-]*\\Z")]
Document = Annotated[bytes, Meta(max_length=1 << 20)]
Index = Annotated[int, Meta(ge=0, lt=1 << 53)]
Csr = Annotated[bytes, Meta(max_length=1 << 17)]

CHUNK_SIZE = 1 << 20
ARTEFACT_LIMIT = 16 << 20
BATCH_LIMIT = 100
PUBLIC: frozenset[str] = frozenset({"public"})
LOCAL: frozenset[str] = frozenset({"local"})
STAFF = frozenset({"officer", "auditor", "operator"})


class Command(Struct, frozen=True, forbid_unknown_fields=True, tag_field="do"):
    """Something the keyroom can be asked."""

    roles: ClassVar[frozenset[str]] = frozenset()
    urgent: ClassVar[bool] = False


class IssueDevice(Command, frozen=True, tag="issue-device"):
    """A device certificate for `serial` inside a work order; `csr` is PKCS#10, PEM or DER. Idempotent."""

    roles = frozenset({"station"})
    work_order: Name
    serial: Name
    csr: Csr


class DeviceRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """One item of a batch."""

    serial: Name
    csr: Csr


class IssueDevices(Command, frozen=True, tag="issue-devices"):
    """A batch inside one work order: each item is done as an IssueDevice of its own, and answered in order."""

    roles = IssueDevice.roles
    work_order: Name
    items: Annotated[tuple[DeviceRequest, ...], Meta(min_length=1, max_length=BATCH_LIMIT)]


# ---- releases ----


class Upload(Command, frozen=True, tag="upload"):
    """One chunk of an artefact, in order; `digest` is what the whole must hash to. The last chunk says `final`."""

    roles = frozenset({"pipeline", "officer"})
    digest: Hex32
    offset: Index
    data: Annotated[bytes, Meta(max_length=CHUNK_SIZE)]
    final: bool


class SignRelease(Command, frozen=True, tag="sign-release"):
    """Sign an uploaded, unsigned MCUboot image and its firmware manifest. The same id and body give the same answer."""

    roles = frozenset({"pipeline"})
    id: RequestId
    class_name: Name
    channel: Name
    version: Name
    security_version: Annotated[int, Meta(ge=0, lt=1 << 32)]
    artefact: Hex32
    provenance: Hex32 | None = None
    sbom: Hex32 | None = None


# ---- ceremonies ----


class OpenCeremony(Command, frozen=True, tag="open-ceremony"):
    """Propose a ceremony: `action` names the kind, `plan` is its JSON content (frozen from here on)."""

    roles = frozenset({"officer"})
    id: Name
    action: Name
    plan: Document
    chg: Text = ""


class OpenGenesis(Command, frozen=True, tag="open-genesis"):
    """Propose the genesis ceremony on an empty journal. Local only."""

    roles = LOCAL
    id: Name
    plan: Document
    chg: Text = ""


class ListCeremonies(Command, frozen=True, tag="list-ceremonies"):
    """All ceremonies, newest first."""

    roles = STAFF | LOCAL


class ShowCeremony(Command, frozen=True, tag="show-ceremony"):
    """One ceremony with its plan and steps: the bytes that officers approve."""

    roles = STAFF | LOCAL
    id: Name


class DecideStep(Command, frozen=True, tag="decide-step"):
    """An officer's signed statement on a step (approve or reject): JCS bytes and an armored SSH signature over them."""

    roles = frozenset({"officer"}) | LOCAL
    urgent = True
    id: Name
    step: Name
    statement: Annotated[bytes, Meta(max_length=1 << 16)]
    signature: Annotated[bytes, Meta(max_length=1 << 14)]


class ExecuteStep(Command, frozen=True, tag="execute-step"):
    """Do what an approved step says. The door verifies every approval again."""

    roles = frozenset({"officer"}) | LOCAL
    id: Name
    step: Name


class SuspendKey(Command, frozen=True, tag="suspend-key"):
    """Stop a key at once. One officer suffices: stopping is always possible, starting never (break-glass)."""

    roles = frozenset({"officer"})
    urgent = True
    label: Name
    reason: Text


# ---- devices in the field ----


class OpenChallenge(Command, frozen=True, tag="open-challenge"):
    """A fresh nonce for a receipt, signed by the director key, with the last manifest of an older set as canary."""

    roles = frozenset({"gateway", "operator"})
    id: RequestId
    campaign: Annotated[bytes, Meta(min_length=16, max_length=16)]


class SubmitReceipts(Command, frozen=True, tag="submit-receipts"):
    """Receipts (COSE_Sign1 by the devices' identity keys), each judged alone; one journal entry for the batch."""

    roles = frozenset({"gateway", "operator"})
    receipts: Annotated[tuple[Annotated[bytes, Meta(max_length=1 << 14)], ...], Meta(min_length=1, max_length=256)]


# ---- queries ----


class ReadDocument(Command, frozen=True, tag="read-document"):
    """A sealed document by its digest, with entry and proof."""

    roles = STAFF | frozenset({"pipeline", "station", "gateway"})
    digest: Hex32


class ListTrustSets(Command, frozen=True, tag="list-trust-sets"):
    """The chain of trust sets from an order index on, oldest first. Public: devices need it."""

    roles = PUBLIC
    start: Index = 0


class ListCounterUpdates(Command, frozen=True, tag="list-counter-updates"):
    """All counter updates, oldest first. Public: devices need them."""

    roles = PUBLIC


class ListCertificates(Command, frozen=True, tag="list-certificates"):
    """The CA certificates. Public."""

    roles = PUBLIC


class ListKeys(Command, frozen=True, tag="list-keys"):
    """Every key: label, role, state, algorithm, name (SPKI digest) and public half where it is published."""

    roles = STAFF | LOCAL


class ShowProof(Command, frozen=True, tag="show-proof"):
    """Entry and tlog-proof of a document by its digest. Public: a proof tells nothing about other entries."""

    roles = PUBLIC
    digest: Hex32


class ReadTile(Command, frozen=True, tag="read-tile"):
    """A tile or checkpoint by its path. Entry tiles name serials and sites: auditors only; the reading is an entry."""

    roles = frozenset({"auditor"})
    path: Annotated[str, Meta(max_length=128)]


class ExportJournal(Command, frozen=True, tag="export-journal"):
    """The next files of an export, from `cursor` until it is empty; only what came after `since` with `root`."""

    roles = frozenset({"auditor"}) | LOCAL
    size: Index = 0
    cursor: Annotated[str, Meta(max_length=200)] = ""
    since: Index = 0
    root: Annotated[str, Meta(pattern="^([0-9a-f]{64})?\\Z")] = ""


class ExportParty(Command, frozen=True, tag="export-party"):
    """The next part of one party's export: key (label, spki), device (serial), work order, site (plant) or change."""

    roles = frozenset({"auditor"}) | LOCAL
    kind: Literal["key", "device", "work-order", "site", "change"]
    name: Annotated[str, Meta(min_length=1, max_length=256)]
    size: Index = 0
    cursor: Annotated[str, Meta(max_length=200)] = ""


class SummarizeJournal(Command, frozen=True, tag="summarize-journal"):
    """Counts of the entries by type, kind and key (JCS), with the entry that records its digest, and the proof."""

    roles = frozenset({"auditor"}) | LOCAL


class ListEvents(Command, frozen=True, tag="list-events"):
    """Journal entries from an index on as events, for monitoring. They name serials: auditors only."""

    roles = frozenset({"auditor"}) | LOCAL
    start: Index = 0
    limit: Annotated[int, Meta(ge=1, le=500)] = 100


class ShowHealth(Command, frozen=True, tag="show-health"):
    """Whether the keyroom can use keys, and what is wrong where it can not."""

    roles = PUBLIC


AnyCommand = (
    IssueDevice | IssueDevices | Upload | SignRelease | OpenCeremony | OpenGenesis | ListCeremonies | ShowCeremony |
    DecideStep | ExecuteStep | SuspendKey | OpenChallenge | SubmitReceipts | ReadDocument | ListTrustSets |
    ListCounterUpdates | ListCertificates | ListKeys | ShowProof | ReadTile | ExportJournal | ExportParty |
    SummarizeJournal | ListEvents | ShowHealth
)  # fmt: skip


class Request(Struct, frozen=True, forbid_unknown_fields=True):
    """A frame to the keyroom. `token` is the caller's own bearer token, `source` the address it came from."""

    id: int
    command: AnyCommand
    token: Annotated[str, Meta(max_length=8192)] = ""
    source: Annotated[str, Meta(max_length=64)] = ""


class Answer(Struct, frozen=True):
    """A frame from the keyroom."""

    id: int
    result: AnyResult | Problem


__all__ = [
    "ARTEFACT_LIMIT", "Answer", "AnyCommand", "AnyResult", "AssetShown", "BATCH_LIMIT", "CHUNK_SIZE",
    "CeremoniesListed", "CeremonyShown", "Command", "DecideStep", "DeviceIssued", "DeviceRequest", "DevicesIssued",
    "Document", "DocumentRead", "DocumentsListed", "EventShown", "EventsListed", "ExecuteStep", "ExportJournal",
    "ExportParty", "HealthShown", "Hex32", "IssueDevice", "IssueDevices", "JournalPart", "KeyShown", "KeysListed",
    "LOCAL", "ListCeremonies", "ListCertificates", "ListCounterUpdates", "ListEvents", "ListKeys", "ListTrustSets",
    "Name", "OpenCeremony", "OpenChallenge", "OpenGenesis", "PUBLIC", "Problem", "ProofShown", "Proven",
    "ReadDocument", "ReadTile", "ReceiptsTaken", "ReleaseSigned", "Request", "RequestId", "STAFF", "ShowCeremony",
    "ShowHealth", "ShowProof", "SignRelease", "StepShown", "SubmitReceipts", "SummarizeJournal", "SuspendKey",
    "TileRead", "Upload", "Uploaded",
]  # fmt: skip
