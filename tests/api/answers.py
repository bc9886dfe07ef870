"""One canned answer for each command, and one well-formed request for each route."""

import base64
import json
from pathlib import Path
from typing import Any

import msgspec

from ceremonies import commands
from pki.x509.pem import write_pem
from tests.api.est_requests import make_est_request
from tests.api.peer import Reply
from tests.pki.cmp.writing import make_cmp_message

VECTORS = Path(__file__).parents[1] / "vectors/x509/certificates.json"
CERTIFICATES = {
    item["name"]: write_pem(bytes.fromhex(item["der"]), "CERTIFICATE") for item in json.loads(VECTORS.read_bytes())
}
PROVEN = commands.Proven(417, b'{"seq":417}', b"c2sp.org/tlog-proof@v1\nindex 417\n")
DIGEST = "9f" * 32
SEALED = commands.DocumentRead("trust-set", "set-0-1", b"\xd2\x84", PROVEN)
SETS = commands.DocumentsListed((("set-0-0", "aa" * 32, b"\xd2\x80"), ("set-0-1", "bb" * 32, b"\xd2\x81")))
KEY = commands.KeyShown("image-app-1", "image-app", "bms-stm32h7", "p256", "active", DIGEST, 3, b"\x30\x59")
STEP = commands.StepShown("plan", b'{"type":"kedge/approval/v1"}', b"{}", (("ada", "approve"),), False)
CEREMONY = commands.CeremonyShown(
    "rotation-1", "rotate", "open", "ada", "CHG-1", b"{}", (STEP,), (), b'{"officers":[]}'
)
HEALTH = commands.HealthShown(
    True, (), "kedge.example/journal", "kedge.example/journal+aa+bb", 418, DIGEST, {"sealed_total": 7.0}
)

EVENTS = commands.EventsListed(
    (
        commands.EventShown(
            83, "2026-11-22T19:44:09.338312Z", "key.sign.outcome", "info", 1, kind="certificate.idevid", status="ok",
            asset=commands.AssetShown("BMS-1", "bms-stm32h7", "graz", "wo-1"), change="CHG-7", keys=("device-ca",),
        ),
    ),
    84,
    84,
)  # fmt: skip

DEVICE = commands.DeviceIssued(
    "BMS-1", b"-----BEGIN CERTIFICATE-----\n", b"chain\n", "01ab", False, PROVEN, None, None, DIGEST
)

ORDER = commands.WorkOrderShown(
    "wo-1", "idevid", "bms-stm32h7", "graz", ("line-1",), (), "open", 1_700_000_000, 1_800_000_000, 20, 3, 17, 3, 1, 1,
    1, 0, 2, 1, 2, 0,
)  # fmt: skip
UNITS = (
    commands.UnitShown("BMS-1", "confirmed", "aa" * 32, "01ab", 417, 420, None, ()),
    commands.UnitShown("BMS-2", "unconfirmed", "bb" * 32, "01cd", 419, None, None, ("cc" * 32, "dd" * 32)),
)

STATION = commands.StationIssued("graz-3-a", b"-----BEGIN CERTIFICATE-----\n", b"chain\n", False, PROVEN)
PLACED = commands.StationShown(
    "graz-3-a", "enrolled", "graz", ("3",), ("bms-stm32h7",), (), DIGEST, "2026-12-24T00:00:00Z"
)
STATIONS = commands.StationsListed((PLACED,))

BOARD = commands.LineBoardShown(
    "graz", 1_795_435_200, (),
    (
        commands.StationOnBoard(
            "graz-3-a", "enrolled", ("3",), "wo-1", 1_795_435_188, 4, 212, 1_795_434_000, 2, "serial-taken", 3
        ),
        commands.StationOnBoard("graz-3-b", "suspended", ("3",), "wo-1", 1_795_434_600, 0, 40, 0, 0, "", 0),
        commands.StationOnBoard("graz-4-a", "enrolled", ("4", "5"), "", 0, 0, 0, 0, 0, "", 0),
    ),
    (commands.OrderOnBoard("wo-1", "bms-stm32h7", "open", 400, 252, 148, 249, 3, 2, 1_795_500_000),),
)  # fmt: skip

EST_REQUEST = base64.b64encode(make_est_request("BMS-000025"))
CERTIFICATE = commands.CertificateShown(
    "ab" * 20, "device-ca", "idevid", "BMS-1", "O=Acme, CN=bms, serialNumber=BMS-1", DIGEST, 12, "revoked",
    "keyCompromise", 1_700_000_000_000_000, 17,
)  # fmt: skip
LISTED = commands.RevocationListShown("device-ca", "crl/device-ca/3f.crl", 417, 2, 1, 2, DIGEST, True)

FLEET = commands.FleetQueried(
    (commands.FleetDevice("BMS-1", "bms-stm32h7", "01ab", "wo-1", "installed", "acme", "hornsea-1", "=cmd", heard=7),),
    "",
    3,
)

ELEMENT = commands.ElementShown(DIGEST, "secure-element", "0123f1822c38dd7a01", "", 417)
GRANTS = commands.GrantsListed(
    "",
    (commands.BoxShown("graz-box-ca", "graz", DIGEST, 54, 5, "2026-11-23T07:16:24.395572Z", b"graz/journal\n54\n"),),
    (
        commands.GrantShown(
            "graz-2026-01", "graz-box-ca", 1, 10, 5, ("idevid",), ("01" * 16,), 1_700_000_000, 1_800_000_000, DIGEST,
            True,
        ),
    ),
)  # fmt: skip
FINDING = commands.FindingShown("overuse", 31, "BMS-11", "number 11 of 10 under =graz-2026-01")
SETTLED = commands.BoxSettled(
    "graz-box-ca", 0, 54, 11, 11, {"confirmed": 2}, {"graz-2026-01": 11}, (FINDING,), 1, True, 417
)

REPLIES: dict[type, Reply] = {
    commands.IssueDevice: DEVICE,
    commands.EnrolDevice: msgspec.structs.replace(DEVICE, certificate=CERTIFICATES["idevid"]),
    commands.IssueStation: STATION,
    commands.ListStations: STATIONS,
    commands.SuspendStation: STATIONS,
    commands.RevokeStation: STATIONS,
    commands.IssueDevices: commands.DevicesIssued((DEVICE,)),
    commands.Upload: lambda command: commands.Uploaded(
        command.digest, command.offset + len(command.data), command.final
    ),
    commands.SignRelease: commands.ReleaseSigned("build-417", "2.3.0", b"\x3d\xb8", PROVEN, b"\xd2", PROVEN, False),
    commands.OpenCeremony: CEREMONY,
    commands.ListCeremonies: commands.CeremoniesListed((("rotation-1", "rotate", "open", "ada"),)),
    commands.ShowCeremony: CEREMONY,
    commands.DecideStep: CEREMONY,
    commands.ExecuteStep: CEREMONY,
    commands.SuspendKey: commands.KeysListed((KEY,)),
    commands.OpenChallenge: SEALED,
    commands.SubmitReceipts: commands.ReceiptsTaken(("", "nonce-unknown"), 12),
    commands.ReadDocument: SEALED,
    commands.ListTrustSets: SETS,
    commands.ListCounterUpdates: SETS,
    commands.ListCertificates: commands.DocumentsListed(
        tuple((name, "cc" * 32, CERTIFICATES[name]) for name in ("device-ca", "identity-root"))
    ),
    commands.RecordStatements: commands.StatementsRecorded((commands.StatementVerdict("BMS-1", "shipped"),), 12, False),
    commands.CheckImport: commands.ImportChecked({"ship": 2}, (), 0),
    commands.QueryFleet: FLEET,
    commands.ShowLabel: commands.LabelShown("BMS-1", "bms-stm32h7", "", "KEDGE1;serial=BMS-1;class=bms-stm32h7"),
    commands.ReadBaseline: SEALED,
    commands.CheckManifest: commands.ManifestChecked({"ATECC608B-TFLXTLSS": 2}, (), 0),
    commands.ListElements: commands.ElementsListed((ELEMENT,), ""),
    commands.ChallengeTpm: commands.TpmChallenged("9f" * 16, b"blob", b"seed", DIGEST, 1_800_000_000),
    commands.ActivateTpm: commands.TpmActivated("BMS-1", DIGEST, "aa" * 32, 423, replayed=False),
    commands.ListGrants: GRANTS,
    commands.SettleBox: SETTLED,
    commands.FindStrays: commands.StraysFound((commands.StrayVerdict("ab" * 20, "graz-box-ca", "known"),)),
    commands.ListKeys: commands.KeysListed((KEY,)),
    commands.ShowProof: commands.ProofShown(PROVEN),
    commands.ReadTile: commands.TileRead(b"\x00\x02{}"),
    commands.ExportJournal: commands.JournalPart(418, (("checkpoint", b"kedge.example/journal\n"),), "tile/0/000"),
    commands.ExportParty: commands.JournalPart(418, (("checkpoint", b"kedge.example/journal\n"),), "entry/0"),
    commands.SummarizeJournal: commands.DocumentRead("summary", "summary", b'{"size":417}', PROVEN),
    commands.ListEvents: EVENTS,
    commands.ShowHealth: HEALTH,
    commands.RevokeCertificate: CERTIFICATE,
    commands.ShowCertificate: CERTIFICATE,
    commands.PreviewRevocation: commands.RevocationPreviewed(2, 1, DIGEST, ("abab BMS-1",)),
    commands.ListRevocations: commands.RevocationsListed((LISTED,)),
    commands.AskStatus: commands.StatusAnswered(b"0\x03\n\x01\x06", 60),
    commands.ConfirmDevice: commands.DeviceConfirmed("BMS-1", 420, replayed=False),
    commands.ConfirmDevices: commands.DevicesConfirmed((commands.DeviceConfirmed("BMS-1", 420, replayed=False),)),
    commands.PermitRework: commands.ReworkPermitted("wo-1", "BMS-1", 421, 1, replayed=False),
    commands.ScrapDevice: commands.DeviceScrapped("wo-1", "BMS-1", 422, replayed=False),
    commands.ListWorkOrders: commands.WorkOrdersListed((ORDER,)),
    commands.ShowWorkOrder: ORDER,
    commands.ReportUnits: commands.UnitsReported("wo-1", UNITS, ""),
    commands.TransactCmp: commands.CmpAnswered(b"0\x00"),
    commands.ShowLineBoard: BOARD,
}

RELEASE = {
    "class_name": "bms-stm32h7",
    "channel": "stable",
    "version": "2.3.0",
    "security_version": 7,
    "artefact": DIGEST,
}
KEYED = {"Idempotency-Key": "build-417"}
CONFIRMATION = {"chain_sha256": DIGEST, "signature": "MAYCAQECAQE="}
DECISION = {"statement": "e30=", "signature": "c2ln"}

# (method, route) -> (URL, arguments for httpx, command that reaches the keyroom)
REQUESTS: dict[tuple[str, str], tuple[str, dict[str, Any], type[commands.Command] | None]] = {
    ("PUT", "/v1/work-orders/{work_order}/devices/{serial}"): (
        "/v1/work-orders/wo-1/devices/BMS-1",
        {"content": b"0\x82", "headers": {"Content-Type": "application/pkcs10"}},
        commands.IssueDevice,
    ),
    ("POST", "/v1/work-orders/{work_order}/devices"): (
        "/v1/work-orders/wo-1/devices",
        {"json": {"requests": [{"serial": "BMS-1", "csr": "MII="}]}},
        commands.IssueDevices,
    ),
    ("GET", "/.well-known/est/{label}/cacerts"): ("/.well-known/est/device-ca/cacerts", {}, commands.ListCertificates),
    ("GET", "/.well-known/est/{label}/csrattrs"): (
        "/.well-known/est/device-ca/csrattrs",
        {},
        commands.ListCertificates,
    ),
    ("POST", "/.well-known/est/{label}/simpleenroll"): (
        "/.well-known/est/device-ca/simpleenroll",
        {"content": EST_REQUEST, "headers": {"Content-Type": "application/pkcs10"}},
        commands.EnrolDevice,
    ),
    ("POST", "/.well-known/est/{label}/simplereenroll"): (
        "/.well-known/est/device-ca/simplereenroll",
        {"content": EST_REQUEST, "headers": {"Content-Type": "application/pkcs10"}},
        commands.EnrolDevice,
    ),
    ("POST", "/.well-known/cmp/p/{label}"): (
        "/.well-known/cmp/p/device-ca",
        {"content": make_cmp_message(), "headers": {"Content-Type": "application/pkixcmp"}},
        commands.TransactCmp,
    ),
    # Two plants: the second reading of one would be answered from what is kept.
    ("GET", "/v1/line-boards/{plant}"): ("/v1/line-boards/linz", {}, commands.ShowLineBoard),
    ("GET", "/line-boards/{plant}"): ("/line-boards/graz", {}, commands.ShowLineBoard),
    ("GET", "/v1/stations"): ("/v1/stations", {}, commands.ListStations),
    ("PUT", "/v1/stations/{station}/certificate"): (
        "/v1/stations/graz-3-a/certificate",
        {"content": b"0\x82", "headers": {"Content-Type": "application/pkcs10"}},
        commands.IssueStation,
    ),
    ("POST", "/v1/stations/{station}/suspension"): (
        "/v1/stations/graz-3-a/suspension",
        {"json": {"reason": "a drill"}},
        commands.SuspendStation,
    ),
    ("POST", "/v1/stations/{station}/revocation"): (
        "/v1/stations/graz-3-a/revocation",
        {"json": {"reason": "stolen"}},
        commands.RevokeStation,
    ),
    ("POST", "/v1/work-orders/{work_order}/devices/{serial}/confirmation"): (
        "/v1/work-orders/wo-1/devices/BMS-1/confirmation",
        {"json": CONFIRMATION},
        commands.ConfirmDevice,
    ),
    ("POST", "/v1/work-orders/{work_order}/confirmations"): (
        "/v1/work-orders/wo-1/confirmations",
        {"json": {"confirmations": [{"serial": "BMS-1", **CONFIRMATION}]}},
        commands.ConfirmDevices,
    ),
    ("POST", "/v1/work-orders/{work_order}/devices/{serial}/rework"): (
        "/v1/work-orders/wo-1/devices/BMS-1/rework",
        {"json": {"reason": "module replaced"}},
        commands.PermitRework,
    ),
    ("POST", "/v1/work-orders/{work_order}/devices/{serial}/scrap"): (
        "/v1/work-orders/wo-1/devices/BMS-1/scrap",
        {"json": {"reason": "dropped"}},
        commands.ScrapDevice,
    ),
    ("GET", "/v1/work-orders"): ("/v1/work-orders", {}, commands.ListWorkOrders),
    ("GET", "/v1/work-orders/{work_order}"): ("/v1/work-orders/wo-1", {}, commands.ShowWorkOrder),
    ("GET", "/v1/work-orders/{work_order}/report"): ("/v1/work-orders/wo-1/report", {}, commands.ReportUnits),
    ("PUT", "/v1/artefacts/{sha256}"): (
        f"/v1/artefacts/{DIGEST}",
        {"content": b"image", "headers": {"Content-Type": "application/octet-stream"}},
        commands.Upload,
    ),
    ("POST", "/v1/releases"): ("/v1/releases", {"json": RELEASE, "headers": KEYED}, commands.SignRelease),
    ("POST", "/v1/ceremonies"): (
        "/v1/ceremonies",
        {"json": {"id": "rotation-1", "action": "rotate", "plan": "e30="}},
        commands.OpenCeremony,
    ),
    ("GET", "/v1/ceremonies"): ("/v1/ceremonies", {}, commands.ListCeremonies),
    ("GET", "/v1/ceremonies/{ceremony}"): ("/v1/ceremonies/rotation-1", {}, commands.ShowCeremony),
    ("POST", "/v1/ceremonies/{ceremony}/steps/{step}/approvals"): (
        "/v1/ceremonies/rotation-1/steps/plan/approvals",
        {"json": DECISION},
        commands.DecideStep,
    ),
    ("POST", "/v1/ceremonies/{ceremony}/steps/{step}/rejections"): (
        "/v1/ceremonies/rotation-1/steps/plan/rejections",
        {"json": DECISION},
        commands.DecideStep,
    ),
    ("POST", "/v1/ceremonies/{ceremony}/steps/{step}/execution"): (
        "/v1/ceremonies/rotation-1/steps/plan/execution",
        {},
        commands.ExecuteStep,
    ),
    ("GET", "/v1/trust-sets"): ("/v1/trust-sets?start=1", {}, commands.ListTrustSets),
    ("GET", "/v1/trust-sets/latest"): ("/v1/trust-sets/latest", {}, commands.ListTrustSets),
    ("GET", "/v1/counter-updates"): ("/v1/counter-updates", {}, commands.ListCounterUpdates),
    ("POST", "/v1/receipts"): ("/v1/receipts", {"json": {"receipts": ["0oQ="]}}, commands.SubmitReceipts),
    ("POST", "/v1/receipts/challenges"): (
        "/v1/receipts/challenges",
        {"json": {"campaign": "AAECAwQFBgcICQoLDA0ODw=="}, "headers": KEYED},
        commands.OpenChallenge,
    ),
    ("POST", "/v1/fleet/statements"): (
        "/v1/fleet/statements",
        {"json": {"statements": [{"act": "ship", "serial": "BMS-1"}]}, "headers": KEYED},
        commands.RecordStatements,
    ),
    ("GET", "/v1/fleet"): ("/v1/fleet?site=hornsea-1&limit=5", {}, commands.QueryFleet),
    ("GET", "/v1/fleet/imports/{sha256}"): (f"/v1/fleet/imports/{DIGEST}", {}, commands.CheckImport),
    ("GET", "/v1/fleet/labels/{serial}"): ("/v1/fleet/labels/BMS-1", {}, commands.ShowLabel),
    ("GET", "/v1/elements"): ("/v1/elements?limit=5", {}, commands.ListElements),
    ("GET", "/v1/elements/manifests/{sha256}"): (f"/v1/elements/manifests/{DIGEST}", {}, commands.CheckManifest),
    ("POST", "/v1/work-orders/{work_order}/devices/{serial}/tpm-challenge"): (
        "/v1/work-orders/wo-1/devices/BMS-1/tpm-challenge",
        {"json": {"endorsement": "MII=", "area": "AFg="}},
        commands.ChallengeTpm,
    ),
    ("POST", "/v1/work-orders/{work_order}/devices/{serial}/tpm-activation"): (
        "/v1/work-orders/wo-1/devices/BMS-1/tpm-activation",
        {"json": {"challenge": "9f" * 16, "secret": "AAEC"}},
        commands.ActivateTpm,
    ),
    ("GET", "/v1/baselines/latest"): ("/v1/baselines/latest", {}, commands.ReadBaseline),
    ("GET", "/v1/grants"): ("/v1/grants", {}, commands.ListGrants),
    ("POST", "/v1/boxes/{box}/settlements"): (
        "/v1/boxes/graz-box-ca/settlements",
        {"json": {"parts": [DIGEST]}},
        commands.SettleBox,
    ),
    ("POST", "/v1/boxes/strays"): ("/v1/boxes/strays", {"json": {"certificates": ["MIIB"]}}, commands.FindStrays),
    ("GET", "/v1/keys"): ("/v1/keys", {}, commands.ListKeys),
    ("POST", "/v1/keys/{label}/suspension"): (
        "/v1/keys/image-app-1/suspension",
        {"json": {"reason": "stolen laptop"}},
        commands.SuspendKey,
    ),
    ("GET", "/v1/certificates"): ("/v1/certificates", {}, commands.ListCertificates),
    ("GET", "/v1/certificates/status"): ("/v1/certificates/status?serial=BMS-1", {}, commands.ShowCertificate),
    ("POST", "/v1/revocations"): (
        "/v1/revocations",
        {"json": {"serial": "BMS-1", "reason": "keyCompromise", "why": "stolen"}},
        commands.RevokeCertificate,
    ),
    ("POST", "/v1/revocations/preview"): (
        "/v1/revocations/preview",
        {"json": {"plan": "e30="}},
        commands.PreviewRevocation,
    ),
    ("GET", "/v1/crls"): ("/v1/crls", {}, commands.ListRevocations),
    ("GET", "/crl/{file}"): ("/crl/device-ca.crl", {}, None),
    ("GET", "/crl/{ca}/{file}"): ("/crl/device-ca/3f.crl", {}, None),
    ("POST", "/ocsp"): (
        "/ocsp",
        {"content": b"0\x00", "headers": {"Content-Type": "application/ocsp-request"}},
        commands.AskStatus,
    ),
    ("GET", "/ocsp/{question:path}"): ("/ocsp/MAA%3D", {}, commands.AskStatus),
    ("GET", "/v1/documents/{sha256}"): (f"/v1/documents/{DIGEST}", {}, commands.ReadDocument),
    ("GET", "/v1/journal/proofs/{sha256}"): (f"/v1/journal/proofs/{DIGEST}", {}, commands.ShowProof),
    ("GET", "/v1/journal/export"): ("/v1/journal/export?size=418&cursor=tile", {}, commands.ExportJournal),
    ("GET", "/v1/journal/party"): ("/v1/journal/party?kind=device&name=BMS-1", {}, commands.ExportParty),
    ("GET", "/v1/journal/summary"): ("/v1/journal/summary", {}, commands.SummarizeJournal),
    ("GET", "/v1/events"): ("/v1/events?start=83&limit=1", {}, commands.ListEvents),
    ("GET", "/journal/checkpoint"): ("/journal/checkpoint", {}, None),
    ("GET", "/journal/tile/entries/{index:path}"): ("/journal/tile/entries/000.p/5", {}, commands.ReadTile),
    ("GET", "/journal/tile/{level}/{index:path}"): ("/journal/tile/0/x001/234", {}, None),
    ("GET", "/healthz"): ("/healthz", {}, None),
    ("GET", "/readyz"): ("/readyz", {}, commands.ShowHealth),
    ("GET", "/metrics"): ("/metrics", {}, commands.ShowHealth),
}
