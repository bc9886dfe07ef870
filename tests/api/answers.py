"""One canned answer for each command, and one well-formed request for each route."""

from typing import Any

from ceremonies import commands
from tests.api.peer import Reply

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

DEVICE = commands.DeviceIssued("BMS-1", b"-----BEGIN CERTIFICATE-----\n", b"chain\n", "01ab", False, PROVEN, None, None)

FLEET = commands.FleetQueried(
    (commands.FleetDevice("BMS-1", "bms-stm32h7", "01ab", "wo-1", "installed", "acme", "hornsea-1", "=cmd", heard=7),),
    "",
    3,
)

REPLIES: dict[type, Reply] = {
    commands.IssueDevice: DEVICE,
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
    commands.ListCertificates: commands.DocumentsListed((("device-ca", "cc" * 32, b"-----BEGIN CERTIFICATE-----\n"),)),
    commands.RecordStatements: commands.StatementsRecorded((commands.StatementVerdict("BMS-1", "shipped"),), 12, False),
    commands.CheckImport: commands.ImportChecked({"ship": 2}, (), 0),
    commands.QueryFleet: FLEET,
    commands.ShowLabel: commands.LabelShown("BMS-1", "bms-stm32h7", "", "KEDGE1;serial=BMS-1;class=bms-stm32h7"),
    commands.ReadBaseline: SEALED,
    commands.ListKeys: commands.KeysListed((KEY,)),
    commands.ShowProof: commands.ProofShown(PROVEN),
    commands.ReadTile: commands.TileRead(b"\x00\x02{}"),
    commands.ExportJournal: commands.JournalPart(418, (("checkpoint", b"kedge.example/journal\n"),), "tile/0/000"),
    commands.ExportParty: commands.JournalPart(418, (("checkpoint", b"kedge.example/journal\n"),), "entry/0"),
    commands.SummarizeJournal: commands.DocumentRead("summary", "summary", b'{"size":417}', PROVEN),
    commands.ListEvents: EVENTS,
    commands.ShowHealth: HEALTH,
}

RELEASE = {
    "class_name": "bms-stm32h7",
    "channel": "stable",
    "version": "2.3.0",
    "security_version": 7,
    "artefact": DIGEST,
}
KEYED = {"Idempotency-Key": "build-417"}
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
    ("GET", "/v1/baselines/latest"): ("/v1/baselines/latest", {}, commands.ReadBaseline),
    ("GET", "/v1/keys"): ("/v1/keys", {}, commands.ListKeys),
    ("POST", "/v1/keys/{label}/suspension"): (
        "/v1/keys/image-app-1/suspension",
        {"json": {"reason": "stolen laptop"}},
        commands.SuspendKey,
    ),
    ("GET", "/v1/certificates"): ("/v1/certificates", {}, commands.ListCertificates),
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
