"""One request of each command, as somebody who may ask it would, and what the journal says of a request."""

import hashlib
import json
from typing import Any, get_args

import msgspec

from ceremonies import commands
from ceremonies.commands import AnyCommand, Command
from ceremonies.tables import EntryRow
from tests.engines import tamper
from tests.world import CLASS, PLANT, World, make_request

ROLES = ("station", "pipeline", "officer", "auditor", "operator", "gateway")
"""Roles that tokens give. A device comes with its certificate alone."""
COMMANDS: tuple[type[Command], ...] = get_args(AnyCommand)


def order_plan(name: str, **fields: Any) -> bytes:
    """A work order as a plan."""
    plan: dict[str, Any] = {
        "id": name, "profile": "idevid", "class_name": CLASS, "plant": PLANT, "prefix": "BMS-", "digits": 6,
        "first": 1, "last": 25, "quantity": 20, "valid_from": 1_700_000_000, "valid_to": 4_000_000_000,
        "organization": "Acme Storage", **fields,
    }  # fmt: skip
    return json.dumps(plan).encode()


def example(kind: type[Command]) -> Command:
    """A request of this kind to the keyroom of `factory_world`; one that may be done where that is easy to have."""
    artefact = b"an artefact"
    digest = hashlib.sha256(artefact).hexdigest()
    examples: tuple[Command, ...] = (
        commands.IssueDevice("wo-1", "BMS-000001", make_request()),
        commands.EnrolDevice("device-ca", "BMS-000004", make_request()),
        commands.IssueStation("graz-3-a", make_request()),
        commands.ListStations(),
        commands.SuspendStation("graz-3-a", "a drill"),
        commands.RevokeStation("graz-3-a", "a drill"),
        commands.IssueDevices("wo-1", (commands.DeviceRequest("BMS-000002", make_request()),)),
        commands.Upload(digest, 0, artefact, True),
        commands.SignRelease("release-1", CLASS, "stable", "1.0.0", 1, digest),
        commands.OpenCeremony("another-order", "work-order", order_plan("wo-2")),
        commands.OpenGenesis("genesis-2", b"{}"),
        commands.ListCeremonies(),
        commands.ShowCeremony("genesis"),
        commands.DecideStep("genesis", "plan", b"{}", b"no signature"),
        commands.ExecuteStep("genesis", "plan"),
        commands.SuspendKey("site-ca", "a drill"),
        commands.OpenChallenge("challenge-1", bytes(16)),
        commands.SubmitReceipts((b"no receipt",)),
        commands.ReadDocument("0" * 64),
        commands.ListTrustSets(),
        commands.ListCounterUpdates(),
        commands.ListCertificates(),
        commands.ListKeys(),
        commands.ShowProof("0" * 64),
        commands.ReadTile("tile/0/000.p/2"),
        commands.ExportJournal(),
        commands.ExportParty("work-order", "wo-1"),
        commands.SummarizeJournal(),
        commands.ListEvents(),
        commands.ShowHealth(),
        commands.RevokeCertificate("BMS-000001", reason="superseded", why="a drill"),
        commands.PreviewRevocation(b"{}"),
        commands.ShowCertificate("BMS-000001"),
        commands.ListRevocations(),
        commands.AskStatus(b"0"),
        commands.TransactCmp("device-ca", b"0"),
        commands.ConfirmDevice("wo-1", "BMS-000001", digest, bytes(64)),
        commands.ConfirmDevices("wo-1", (commands.Confirmation("BMS-000001", digest, bytes(64)),)),
        commands.PermitRework("wo-1", "BMS-000001", "module replaced"),
        commands.ScrapDevice("wo-1", "BMS-000001", "dropped"),
        commands.ListWorkOrders(),
        commands.ShowWorkOrder("wo-1"),
        commands.ReportUnits("wo-1"),
        commands.RecordStatements("request-1", (commands.Ship("BMS-000001"),)),
        commands.CheckImport("0" * 64),
        commands.QueryFleet(),
        commands.ShowLabel("BMS-000001"),
        commands.ReadBaseline(),
        commands.CheckManifest("0" * 64),
        commands.ListElements(),
        commands.ChallengeTpm("wo-1", "BMS-000001", b"0", b"0"),
        commands.ActivateTpm("wo-1", "BMS-000001", "0" * 32, bytes(32)),
        commands.ShowLineBoard(PLANT),
        commands.ListGrants(),
        commands.SettleBox("graz-box-ca", ("0" * 64,)),
        commands.FindStrays((b"0",)),
    )
    found = [item for item in examples if type(item) is kind]
    assert found, f"{kind.__name__} has no example here: add one, and with it the tests of roles and of entries"
    return found[0]


def read_leaves(world: World, start: int = 0) -> list[dict[str, Any]]:
    """The entries of a started world from an index on."""
    rows = world.room.store.list(EntryRow, "seq")
    return [msgspec.json.decode(row["leaf"]) for row in rows if row["seq"] >= start]


def write_sql(world: World, statement: str, **values: object) -> None:
    """What a malicious database administrator does while the keyroom runs. It must change something."""
    tamper(world.room.store, statement, **values)
