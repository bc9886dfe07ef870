"""Everything that the keyroom can be asked. This file is the whole surface between the API and the keys.

The answers stand in `ceremonies.results` and are exported here.

Each command is a frozen, tagged Struct; unknown fields are refused. `roles` says who may ask: the keyroom verifies the
token itself. `local` commands are taken on the Unix socket from the operator's own uid only, never from the API.
Digests are lowercase hex SHA-256; documents are the exact bytes of the file that Kedge hands out.
"""

from typing import Annotated

from msgspec import Meta, Struct

from ceremonies.commands.boards import SHEETS_LIMIT, ShowLineBoard
from ceremonies.commands.certificates import (
    AskStatus,
    ListRevocations,
    PreviewRevocation,
    RevokeCertificate,
    ShowCertificate,
)
from ceremonies.commands.cmp import TransactCmp
from ceremonies.commands.command import LOCAL, PUBLIC, STAFF, Command, Document, Hex32, Name, RequestId, Text
from ceremonies.commands.elements import ELEMENTS_LIMIT, ActivateTpm, ChallengeTpm, CheckManifest, ListElements
from ceremonies.commands.factory import BATCH_LIMIT, DeviceRequest, EnrolDevice, IssueDevice, IssueDevices
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
from ceremonies.commands.grants import PARTS_LIMIT, STRAYS_LIMIT, FindStrays, ListGrants, SettleBox
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
from ceremonies.commands.stations import IssueStation, ListStations, RevokeStation, SuspendStation
from ceremonies.commands.units import (
    ROWS_LIMIT,
    Confirmation,
    ConfirmDevice,
    ConfirmDevices,
    ListWorkOrders,
    PermitRework,
    ReportUnits,
    ScrapDevice,
    ShowWorkOrder,
)

from ceremonies.board_results import (  # isort: skip
    LineBoardShown, OrderOnBoard, StationOnBoard,
)  # fmt: skip
from ceremonies.factory_results import (  # isort: skip
    CmpAnswered, DeviceIssued, DevicesConfirmed, DevicesIssued, StationIssued, StationShown, StationsListed,
)  # fmt: skip
from ceremonies.grant_results import (  # isort: skip
    BoxSettled, BoxShown, FindingShown, GrantShown, GrantsListed, StraysFound, StrayVerdict,
)  # fmt: skip
from ceremonies.outcomes import (  # isort: skip
    Problem, Proven,
)  # fmt: skip
from ceremonies.results import (  # isort: skip
    AnyResult, AssetShown, CeremoniesListed, CeremonyShown, DocumentRead, DocumentsListed, EventShown, EventsListed,
    HealthShown, JournalPart, KeyShown, KeysListed, ProofShown, ReceiptsTaken, ReleaseSigned, StepShown, TileRead,
    Uploaded,
)  # fmt: skip
from ceremonies.revocation_results import (  # isort: skip
    CertificateShown, RevocationListShown, RevocationPreviewed, RevocationsListed, StatusAnswered,
)  # fmt: skip
from ceremonies.tallies import (  # isort: skip
    DeviceConfirmed, DeviceScrapped, ReworkPermitted, UnitShown, UnitsReported, WorkOrderShown, WorkOrdersListed,
)  # fmt: skip
from ceremonies.register_results import (  # isort: skip
    BadLine, FleetDevice, FleetQueried, ImportChecked, LabelShown, StatementsRecorded, StatementVerdict,
)  # fmt: skip
from ceremonies.element_results import (  # isort: skip
    ElementShown, ElementsListed, ManifestChecked, RefusedElement, TpmActivated, TpmChallenged,
)  # fmt: skip

AnyCommand = (
    IssueDevice | EnrolDevice | IssueDevices | Upload | SignRelease | OpenCeremony | OpenGenesis | ListCeremonies |
    ShowCeremony | DecideStep | ExecuteStep | SuspendKey | OpenChallenge | SubmitReceipts | ReadDocument |
    ListTrustSets | ListCounterUpdates | ListCertificates | ListKeys | ShowProof | ReadTile | ExportJournal |
    ExportParty | SummarizeJournal | ListEvents | ShowHealth | IssueStation | ListStations | SuspendStation |
    RevokeStation | RevokeCertificate | PreviewRevocation | ShowCertificate | ListRevocations | AskStatus |
    ConfirmDevice | ConfirmDevices | ListWorkOrders | PermitRework | ReportUnits | ScrapDevice | ShowWorkOrder |
    RecordStatements | CheckImport | QueryFleet | ShowLabel | ReadBaseline | CheckManifest | ListElements |
    ChallengeTpm | ActivateTpm | TransactCmp | ShowLineBoard | ListGrants | SettleBox | FindStrays
)  # fmt: skip


class Request(Struct, frozen=True, forbid_unknown_fields=True):
    """A frame to the keyroom. `token` is the caller's own bearer token, `source` the address it came from,
    `certificate` (DER) the client certificate that TLS has verified.
    """

    id: int
    command: AnyCommand
    token: Annotated[str, Meta(max_length=8192)] = ""
    source: Annotated[str, Meta(max_length=64)] = ""
    certificate: Annotated[bytes, Meta(max_length=1 << 14)] = b""


class Answer(Struct, frozen=True):
    """A frame from the keyroom."""

    id: int
    result: AnyResult | Problem


__all__ = [
    "ARTEFACT_LIMIT", "ActivateTpm", "Answer", "AnyCommand", "AnyResult", "AskStatus", "AssetShown", "BATCH_LIMIT",
    "BadLine", "BoxSettled", "BoxShown", "CHUNK_SIZE", "CeremoniesListed", "CeremonyShown", "CertificateShown",
    "ChallengeTpm", "CheckImport", "CheckManifest", "CmpAnswered", "Command", "ConfirmDevice", "ConfirmDevices",
    "Confirmation", "DecideStep", "Decommission", "DeviceConfirmed", "DeviceIssued", "DeviceRequest",
    "DeviceScrapped", "DevicesConfirmed", "DevicesIssued", "Document", "DocumentRead", "DocumentsListed",
    "ELEMENTS_LIMIT", "ElementShown", "ElementsListed", "EnrolDevice", "EventShown", "EventsListed", "ExecuteStep",
    "ExportJournal", "ExportParty", "FLEET_LIMIT", "FindStrays", "FindingShown", "FleetDevice", "FleetQueried",
    "GrantShown", "GrantsListed", "HealthShown", "Hex32", "ImportChecked", "Install", "IssueDevice", "IssueDevices",
    "IssueStation", "JournalPart", "KeyShown", "KeysListed", "LOCAL", "LabelShown", "LineBoardShown",
    "ListCeremonies", "ListCertificates", "ListCounterUpdates", "ListElements", "ListEvents", "ListGrants",
    "ListKeys", "ListRevocations", "ListStations", "ListTrustSets", "ListWorkOrders", "ManifestChecked", "Move",
    "Name", "OpenCeremony", "OpenChallenge", "OpenGenesis", "OrderOnBoard", "PARTS_LIMIT", "PUBLIC", "PermitRework",
    "PreviewRevocation", "Problem", "ProofShown", "Proven", "QueryFleet", "ROWS_LIMIT", "ReadBaseline",
    "ReadDocument", "ReadTile", "ReceiptsTaken", "RecordStatements", "RefusedElement", "ReleaseSigned", "Replace",
    "ReportUnits", "Request", "RequestId", "Return", "RevocationListShown", "RevocationPreviewed",
    "RevocationsListed", "RevokeCertificate", "RevokeStation", "ReworkPermitted", "SHEETS_LIMIT", "STAFF",
    "STATEMENTS_LIMIT", "STRAYS_LIMIT", "ScrapDevice", "SettleBox", "Ship", "ShowCeremony", "ShowCertificate",
    "ShowHealth", "ShowLabel", "ShowLineBoard", "ShowProof", "ShowWorkOrder", "SignRelease", "Statement",
    "StatementVerdict", "StatementsRecorded", "StationIssued", "StationOnBoard", "StationShown", "StationsListed",
    "StatusAnswered", "StepShown", "StrayVerdict", "StraysFound", "SubmitReceipts", "SummarizeJournal",
    "SuspendKey", "SuspendStation", "Text", "TileRead", "TpmActivated", "TpmChallenged", "TransactCmp",
    "UnitShown", "UnitsReported", "Upload", "Uploaded", "WorkOrderShown", "WorkOrdersListed",
]  # fmt: skip
