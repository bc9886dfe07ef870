"""A centre and a site box: two keyrooms with officers of their own, and files between them."""

import asyncio
import base64
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import msgspec

from ceremonies.commands import CeremonyShown, DeviceIssued, ExportJournal, IssueDevice, JournalPart, SettleBox
from ceremonies.settings import KeyroomSettings
from ceremonies.tables import DocumentRow, TrustSetRow
from hsm.strongbox import Strongbox
from pki.log.checkpoints import parse_checkpoint
from pki.log.media import list_files, write_medium
from pki.log.notes import parse_note
from tests.ceremonies.field import upload
from tests.softbox import Softbox
from tests.world import CLASS, PLANT, TOKENS, World, copy_world, make_request

CA = "graz-box-ca"
GRANT = "graz-2026-01"


class BoxWorld(World):
    """A site box of the plant, which belongs to a centre."""

    centre: dict[str, str]

    def settings(self) -> KeyroomSettings:
        """Another journal than the centre's."""
        return msgspec.structs.replace(super().settings(), origin="graz.example/journal", node="box-1")

    def genesis_plan(self) -> dict[str, Any]:
        """The plan of a site box's genesis."""
        plan = super().genesis_plan()
        keys = [
            {"label": CA, "role": "device-ca", "algorithm": "p256", "token": "kedge-main"},
            {"label": "journal", "role": "journal", "algorithm": "ed25519", "token": "kedge-journal"},
        ]
        about = {name: plan[name] for name in ("roster", "policy", "organization")}
        return {**about, "keys": keys, "centre": self.centre}


def make_box(path: Path, centre: World, database: Any = None) -> BoxWorld:
    """A box where nothing happened yet; what it pins is the centre's."""
    shared: dict[Any, Any] = {}
    memos: dict[Any, Any] = {}
    box = BoxWorld(path, lambda: cast(Strongbox, Softbox(tuple(TOKENS), shared, memos)), database=database)
    store = centre.room.store
    root = store.blob(find_document(centre, "identity-root")) or b""
    box.centre = {"plant": PLANT, "identity_root": root.decode(), "trust_set": read_set(centre)}
    return box


def read_set(centre: World, index: int = 0) -> str:
    """A trust set of the centre, in base64."""
    row = centre.room.store.find(TrustSetRow, index=index)
    assert row is not None
    return base64.b64encode(centre.room.store.blob(row["document"]) or b"").decode()


def find_document(world: World, name: str, kind: str = "") -> str:
    """The digest of a document that a ceremony sealed."""
    rows = world.room.store.list(DocumentRow, "seq", name=name)
    return str(next(row["sha256"] for row in reversed(rows) if row["kind"].startswith(kind)))


def read_document(world: World, name: str, kind: str = "") -> bytes:
    """A document that a ceremony sealed."""
    return world.room.store.blob(find_document(world, name, kind)) or b""


def trust_of(box: World) -> str:
    """The tlog-policy by which others read the journal of a box."""
    log_key = box.room.ledger.log_key
    assert log_key is not None
    return f"log {log_key.vkey.encode()}\nquorum none\n"


async def certify(centre: World, box: World, label: str = CA) -> CeremonyShown:
    """The centre certifies the CA of a box, and pins its journal."""
    plan = {
        "label": label, "plant": PLANT, "request": read_document(box, CA, "certificate-request").decode(),
        "organization": "Acme Storage", "name": "Acme Graz CA", "days": 4000, "journal": trust_of(box),
    }  # fmt: skip
    return await centre.ceremony(f"ca-{label}", "plant-ca", plan)


def grant_plan(name: str = GRANT, quantity: int = 10, **fields: Any) -> dict[str, Any]:
    """A grant as a plan."""
    now = int(time.time())
    plain = {"id": name, "box": CA, "quantity": quantity, "classes": [CLASS], "valid_from": now - 60}
    return {**plain, "valid_to": now + 86_400, **fields}


async def make_grant(centre: World, name: str = GRANT, quantity: int = 10, **fields: Any) -> bytes:
    """A grant of the centre, as the file that is carried to the box."""
    await centre.ceremony(f"grant-{name}", "grant", grant_plan(name, quantity, **fields))
    return read_document(centre, name, "quota-grant")


def import_plan(centre: World, grant: bytes, **fields: Any) -> dict[str, Any]:
    """What is brought to the box, as a plan."""
    certificate = read_document(centre, CA, "certificate.device-ca").decode()
    return {"grant": base64.b64encode(grant).decode(), "certificate": certificate, **fields}


async def bring(centre: World, box: World, grant: bytes, name: str = GRANT, **fields: Any) -> CeremonyShown:
    """Officers of the box import a grant."""
    return await box.ceremony(f"import-{name}", "grant-import", import_plan(centre, grant, **fields))


async def issue(box: World, serial: str, csr: bytes = b"", order: str = "wo-1") -> DeviceIssued:
    """A certificate by the box."""
    return await box.ask(IssueDevice(order, serial, csr or make_request()), "station", DeviceIssued)


def copy_box(template: BoxWorld, path: Path) -> BoxWorld:
    """The same box at another place; not started."""
    plain = copy_world(template, path)
    box = BoxWorld(path, plain.strongbox, plain.around, plain.database)
    box.issuer, box.officers, box.roster, box.policy = plain.issuer, plain.officers, plain.roster, plain.policy
    box.centre = template.centre
    return box


async def carry(box: World, since: str = "") -> bytes:
    """What is exported at the box, as one file; `since` a checkpoint of the centre's for an increment."""
    head = parse_checkpoint(parse_note(since.encode()).text) if since else None
    begun = ExportJournal(since=head.size, root=head.root.hex()) if head else ExportJournal()
    files: dict[str, bytes] = {}
    command = begun
    while True:
        part = await box.ask(command, "auditor", JournalPart)
        files.update(part.files)
        if not part.cursor:
            return pack(files)
        command = msgspec.structs.replace(begun, size=part.size, cursor=part.cursor)


def pack(files: Mapping[str, bytes]) -> bytes:
    """Files as a medium."""
    return b"".join(write_medium(files, files.__getitem__))


def unpack(medium: bytes) -> dict[str, bytes]:
    """The files of a medium."""
    found = list_files(lambda at, size: medium[at : at + size])
    return {name: medium[place.offset : place.offset + place.size] for name, place in found.items()}


async def settle(centre: World, medium: bytes, box: str = CA, *, dry_run: bool = False) -> Any:
    """An officer of the centre settles a box; the answer, or the problem."""
    digest = await upload(centre, medium)
    return await centre.try_ask(SettleBox(box, (digest,), dry_run), "officer")


class Pair:
    """A centre and its box, started."""

    def __init__(self, centre: World, box: BoxWorld) -> None:
        self.centre, self.box = centre, box

    def start(self) -> "Pair":
        """Both keyrooms, on what is on disk."""
        self.centre.start()
        self.box.start()
        return self

    def stop(self) -> None:
        """End both without a word."""
        self.centre.stop()
        self.box.stop()

    def copy(self, path: Path) -> "Pair":
        """The same two at another place; not started."""
        return Pair(copy_world(self.centre, path / "centre"), copy_box(self.box, path / "box"))


def make_pair(centre: World, path: Path, database: Any = None) -> Pair:
    """A started centre and a box of it after its genesis; nothing was certified or granted."""
    box = make_box(path, centre, database)
    box.start()
    asyncio.run(box.genesis())
    return Pair(centre, box)


async def prepare_pair(pair: Pair, quantity: int = 10) -> None:
    """The box may issue `quantity` certificates; its work order is larger."""
    await certify(pair.centre, pair.box)
    await pair.box.open_order(quantity=250, last=300, rework_quantity=2)
    await bring(pair.centre, pair.box, await make_grant(pair.centre, quantity=quantity))
