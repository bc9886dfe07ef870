"""Baselines: the versions that were tested together, published for site boxes, and what the fleet is compared with."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import select

from ceremonies.admission import read_version
from ceremonies.certified import read_released
from ceremonies.commands import DocumentRead, Proven, ReadBaseline
from ceremonies.desk import Caller
from ceremonies.errors import KeyroomError
from ceremonies.fleet_tables import BaselineRow
from ceremonies.journal import RESTORE, JournalForked
from ceremonies.orders import Sealed
from ceremonies.plans import BaselinePlan, PlanMalformed, read_plan, write_plan
from ceremonies.procedures import Action, Item
from ceremonies.quorums import StepOutdated
from ceremonies.room import Room
from ceremonies.store import Insert, Row, table_of
from ceremonies.tables import DocumentRow, ReleaseRow
from ceremonies.trustsets import newest_set, signing_keys
from pki.trust.authority import open_sign
from pki.trust.baselines import Baseline, BaselineRelease, draft_baseline
from pki.trust.cose import parse_sign
from pki.trust.keys import CoseKey
from pki.trust.manifests import FirmwareManifest
from pki.trust.sets import Domain, RoleId, TrustSet

KIND = "baseline"


class BaselineUnknown(KeyroomError):
    """No baseline was published yet."""

    code = "baseline-unknown"


class Baselines:
    """Hands out the newest one."""

    def __init__(self, room: Room) -> None:
        self._room = room

    async def read(self, command: ReadBaseline, caller: Caller) -> DocumentRead:
        """The newest baseline, with entry and proof. Raises BaselineUnknown, WitnessesBehind."""
        room = self._room
        row = await room.act(lambda: newest_row(room))
        if row is None:
            raise BaselineUnknown("no baseline was published", hint="hold the ceremony `baseline`")
        released = room.store.find(DocumentRow, sha256=row["document"])
        seq = released["seq"] if released else room.ledger.journal.size
        await room.witnesses.demand(seq + 1)
        sealed = await room.act(lambda: room.ledger.recall(row["document"], seq))
        open_baseline(row, sealed.document)
        proof = await room.witnesses.prove(seq) if room.witnesses.latest.size > seq else sealed.proof
        proven = Proven(sealed.seq, sealed.entry, proof)
        return DocumentRead(KIND, f"baseline-{row['sequence']}", sealed.document, proven)


def newest_row(room: Room) -> Row | None:
    """The newest baseline's row. Writer's thread. Raises JournalForked unless it is the last that was sealed."""
    table = table_of(BaselineRow)
    row = room.store.row(select(table).order_by(table.c.sequence.desc()))
    if (row["sequence"] if row else 0) != room.ledger.replay.sealed.get(KIND, 0):
        raise JournalForked("baseline: the rows are not what the journal says", hint=RESTORE)
    return row


def find_baseline(room: Room) -> Baseline | None:
    """The newest baseline, as the door released it. Writer's thread. Raises JournalForked."""
    row = newest_row(room)
    if row is None:
        return None
    return open_baseline(row, read_released(room, row["document"], KIND))


def open_baseline(row: Row, document: bytes) -> Baseline:
    """A baseline that the door released. Raises JournalForked when the row puts an older one in its place."""
    baseline: Baseline = open_sign(Baseline, document)[0]
    if baseline.sequence != row["sequence"]:
        raise JournalForked(f"baseline {row['sequence']}: its row leads to another one", hint=RESTORE)
    return baseline


def prepare_baseline(room: Room, data: bytes) -> dict[str, Any]:
    """A baseline that can be drafted now; officers see class and version of each release."""
    plan: BaselinePlan = read_plan(data, BaselinePlan)
    rows = find_releases(room, plan)
    build_draft(room, newest_set(room.store), rows, {"issued_at": 0, "sequence": 0})
    shown = [{name: row[name] for name in ("class_name", "version", "channel", "id")} for row in rows]
    return {"content": write_plan(plan), "releases": shown}


def find_releases(room: Room, plan: BaselinePlan) -> list[Row]:
    """The rows of the releases, one for each class of the policy. Raises PlanMalformed."""
    rows: dict[str, Row] = {}
    for name in plan.releases:
        row = room.store.find(ReleaseRow, id=name)
        if row is None:
            raise PlanMalformed(f"baseline: no release {name}", hint="name releases by the id of their request")
        if row["class_name"] in rows:
            raise PlanMalformed(f"baseline: two releases of class {row['class_name']}", hint="name one for each class")
        room.door.require_governing().policy.fleet.device_class(row["class_name"])
        rows[row["class_name"]] = row
    return list(rows.values())


def draw_baseline(room: Room, shown: Mapping[str, Any]) -> dict[str, Any]:
    """The next sequence number, and the time."""
    row = newest_row(room)
    return {"issued_at": room.surroundings.now_us() // 1_000_000, "sequence": (row["sequence"] if row else 0) + 1}


def build_draft(room: Room, newest: TrustSet, rows: Sequence[Row], recipe: Mapping[str, Any]) -> Any:
    """The draft, signed by as many manifest-signers as each class asks for."""
    fleet = room.door.require_governing().policy.fleet
    classes = {fleet.class_id(row["class_name"]): read_tested(room, row) for row in rows}
    baseline = Baseline(newest.fleet, recipe["sequence"], newest.ref, classes, recipe["issued_at"])
    signers: dict[bytes, CoseKey] = {}
    for class_id in classes:
        group = newest.group(RoleId.MANIFEST_SIGNER, class_id=class_id)
        for key in signing_keys(room.store, room.door.keyring, group):
            signers[key.thumbprint] = key
    return draft_baseline(newest, baseline, list(signers.values()))


def read_tested(room: Room, row: Row) -> BaselineRelease:
    """The release as its signed manifest has it. Raises PlanMalformed when row and manifest differ."""
    payload = parse_sign(room.store.blob(row["manifest"]) or b"").payload
    manifest = FirmwareManifest.from_payload(payload)
    component, digest = manifest.component, manifest.payload_sha256
    if (digest.hex(), component.version) != (row["manifest_payload"], read_version(row["version"])):
        raise PlanMalformed(f"baseline: release {row['id']} is not what its manifest says", hint="restore the database")
    return BaselineRelease(Domain(component.component), component.version, digest)


def draft_baselines(room: Room, shown: Mapping[str, Any], recipe: Mapping[str, Any]) -> Sequence[Item]:
    """The one document. Raises StepOutdated when another baseline took its number."""
    rows = find_releases(room, msgspec.convert(shown["content"], BaselinePlan))
    draft = build_draft(room, newest_set(room.store), rows, recipe)
    published = room.store.find(BaselineRow, sequence=recipe["sequence"])
    if published and parse_sign(room.store.blob(published["document"]) or b"").payload != draft.payload:
        raise StepOutdated(f"baseline {recipe['sequence']} was published meanwhile", hint="propose a new ceremony")

    def changes(sealed: Sealed) -> list[Insert]:
        return [Insert(BaselineRow, {"sequence": recipe["sequence"], "document": sealed.sha256})]

    return [Item(f"baseline-{recipe['sequence']}", draft, changes)]


BASELINE_ACTION = Action(prepare=prepare_baseline, kinds=(KIND,), draw=draw_baseline, draft=draft_baselines)
