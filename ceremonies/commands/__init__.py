"""Everything that the keyroom can be asked. This file is the whole surface between the API and the keys.

The answers stand in `ceremonies.results` and are exported here.

Each command is a frozen, tagged Struct; unknown fields are refused. `roles` says who may ask: the keyroom verifies the
token itself. `local` commands are taken on the Unix socket from the operator's own uid only, never from the API.
Digests are lowercase hex SHA-256; documents are the exact bytes of the file that Kedge hands out.
"""

from typing import Annotated

from msgspec import Meta, Struct

from ceremonies.commands.command import LOCAL, PUBLIC, STAFF, Command, Document, Hex32, Name, RequestId, Text
from ceremonies.commands.factory import BATCH_LIMIT, DeviceRequest, IssueDevice, IssueDevices
from ceremonies.commands.field import OpenChallenge, SubmitReceipts
from ceremonies.commands.governance import (
    DecideStep,
    ExecuteStep,
    ListCeremonies,
    OpenCeremony,
    OpenGenesis,
    ShowCeremony,
    SuspendKey,
)
from ceremonies.commands.queries import (
    ExportJournal,
    ExportParty,
    ListCertificates,
    ListCounterUpdates,
    ListEvents,
    ListKeys,
    ListTrustSets,
    ReadDocument,
    ReadTile,
    ShowHealth,
    ShowProof,
    SummarizeJournal,
)
from ceremonies.commands.register import (
    FLEET_LIMIT,
    STATEMENTS_LIMIT,
    CheckImport,
    Decommission,
    Install,
    Move,
    QueryFleet,
    ReadBaseline,
    RecordStatements,
    Replace,
    Return,
    Ship,
    ShowLabel,
    Statement,
)
from ceremonies.commands.releases import ARTEFACT_LIMIT, CHUNK_SIZE, SignRelease, Upload

from ceremonies.results import (  # isort: skip
    AnyResult, AssetShown, CeremoniesListed, CeremonyShown, DeviceIssued, DevicesIssued, DocumentRead, DocumentsListed,
    EventShown, EventsListed, HealthShown, JournalPart, KeyShown, KeysListed, Problem, ProofShown, Proven,
    ReceiptsTaken, ReleaseSigned, StepShown, TileRead, Uploaded,
)  # fmt: skip
from ceremonies.register_results import (  # isort: skip
    BadLine, FleetDevice, FleetQueried, ImportChecked, LabelShown, StatementsRecorded, StatementVerdict,
)  # fmt: skip

AnyCommand = (
    IssueDevice | IssueDevices | Upload | SignRelease | OpenCeremony | OpenGenesis | ListCeremonies | ShowCeremony |
    DecideStep | ExecuteStep | SuspendKey | OpenChallenge | SubmitReceipts | ReadDocument | ListTrustSets |
    ListCounterUpdates | ListCertificates | ListKeys | ShowProof | ReadTile | ExportJournal | ExportParty |
    SummarizeJournal | ListEvents | ShowHealth | RecordStatements | CheckImport | QueryFleet | ShowLabel | ReadBaseline
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
    "ARTEFACT_LIMIT", "Answer", "AnyCommand", "AnyResult", "AssetShown", "BATCH_LIMIT", "BadLine", "CHUNK_SIZE",
    "CeremoniesListed", "CeremonyShown", "CheckImport", "Command", "DecideStep", "Decommission", "DeviceIssued",
    "DeviceRequest", "DevicesIssued", "Document", "DocumentRead", "DocumentsListed", "EventShown", "EventsListed",
    "ExecuteStep", "ExportJournal", "ExportParty", "FLEET_LIMIT", "FleetDevice", "FleetQueried", "HealthShown",
    "Hex32", "ImportChecked", "Install", "IssueDevice", "IssueDevices", "JournalPart", "KeyShown", "KeysListed",
    "LOCAL", "LabelShown", "ListCeremonies", "ListCertificates", "ListCounterUpdates", "ListEvents", "ListKeys",
    "ListTrustSets", "Move", "Name", "OpenCeremony", "OpenChallenge", "OpenGenesis", "PUBLIC", "Problem",
    "ProofShown", "Proven", "QueryFleet", "ReadBaseline", "ReadDocument", "ReadTile", "ReceiptsTaken",
    "RecordStatements", "ReleaseSigned", "Replace", "Request", "RequestId", "Return", "STAFF", "STATEMENTS_LIMIT",
    "Ship", "ShowCeremony", "ShowHealth", "ShowLabel", "ShowProof", "SignRelease", "Statement", "StatementVerdict",
    "StatementsRecorded", "StepShown", "SubmitReceipts", "SummarizeJournal", "SuspendKey", "Text", "TileRead",
    "Upload", "Uploaded",
]  # fmt: skip
