"""Stores of earlier releases: today's keyroom migrates them, goes on in them, and an auditor verifies the whole."""

import asyncio
import json
import sqlite3
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from ceremonies.anchors import LABEL
from ceremonies.checkups import check_database
from ceremonies.commands import CertificateShown, KeysListed, ListKeys, ShowCertificate, SuspendKey
from ceremonies.settings import KeyroomSettings
from ceremonies.store import Store
from ceremonies.tables import DeviceRow
from hsm.series import Box
from pki.log.audit import audit_journal
from pki.log.policy import parse_policy
from tests.ceremonies.issuer_keys import IssuerSigner
from tests.softbox import Softbox, remember_label
from tests.world import TOKENS, World, export_journal, soft_keys

DATA = Path(__file__).parents[1] / "data"
STORES = sorted(DATA.glob("store-*.tar.gz"))


@pytest.fixture(params=STORES, ids=lambda path: path.name.removesuffix(".tar.gz"))
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A keyroom's place as an earlier release left it."""
    with tarfile.open(request.param) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


class OldWorld(World):
    """A world whose roster is known by its digest only: its officers are gone, its issuer is not."""

    def __init__(self, place: Path, told: dict[str, Any]) -> None:
        private = {(key["token"], bytes.fromhex(key["id"])): load(key["pem"]) for key in told["keys"]}
        memos: dict[Any, Any] = {}
        super().__init__(place, lambda: cast(Box, Softbox(tuple(TOKENS), private, memos)))
        self.issuer = IssuerSigner(told["kid"], told["algorithm"], load(told["issuer"]))
        self.digest = told["roster_sha256"]

    def settings(self) -> KeyroomSettings:
        """With the roster of then."""
        return msgspec.structs.replace(super().settings(), roster_sha256=self.digest)


def load(pem: str) -> Any:
    """A private key."""
    return load_pem_private_key(pem.encode(), None)


def read_version(place: Path) -> str:
    """The schema's version in the database."""
    connection = sqlite3.connect(place / "data" / "kedge.db")
    try:
        return str(connection.execute("SELECT version_num FROM alembic_version").fetchone()[0])
    finally:
        connection.close()


@pytest.fixture
def told(place: Path) -> dict[str, Any]:
    """What the earlier release said of itself."""
    facts: dict[str, Any] = json.loads((place / "world.json").read_text())
    return facts


@pytest.fixture
def world(place: Path, told: dict[str, Any]) -> Iterator[World]:
    """Today's keyroom on that place, not started. Soft tokens know their labels as the database has them."""
    connection = sqlite3.connect(place / "data" / "kedge.db")
    for label, token, key_id in connection.execute("SELECT label, token, cka_id FROM key"):
        remember_label(token, bytes.fromhex(key_id), label)
    connection.close()
    world = OldWorld(place, told)
    yield world
    world.stop()


def test_there_is_a_store_of_an_earlier_release() -> None:
    assert STORES


def test_an_earlier_store_is_migrated_and_verifies(world: World, place: Path, told: dict[str, Any]) -> None:
    before = read_version(place)
    world.start()
    journal = world.room.ledger.journal
    assert read_version(place) > before
    assert journal.size > told["size"], "log.start and inventory are new"
    assert world.room.ledger.replay.token_anchor
    (kept,) = soft_keys(world).read_memos("kedge-journal", LABEL)
    assert kept == world.room.ledger.sign_checkpoint()
    keys = asyncio.run(world.ask(ListKeys(), "auditor", KeysListed)).keys
    assert {key.label: key.state for key in keys}["site-ca"] == "suspended"
    asyncio.run(world.ask(SuspendKey("director", "a drill after the upgrade"), "officer", object))
    files = asyncio.run(export_journal(world))
    policy = parse_policy(f"log {told['vkey']}\nquorum none\n".encode())
    report = audit_journal(files.__getitem__, list(files), policy)
    assert report.size >= told["size"] + 3
    assert (place / "public" / "journal" / "checkpoint").exists()


@pytest.mark.req("CA-3", "CA-9")
def test_certificates_of_before_are_found_by_their_number(world: World) -> None:
    world.start()
    devices = world.room.store.list(DeviceRow, "serial")
    assert devices
    for device in devices:
        shown = asyncio.run(world.ask(ShowCertificate(device["serial"]), "auditor", CertificateShown))
        again = asyncio.run(world.ask(ShowCertificate(number=shown.number), "auditor", CertificateShown))
        assert (shown, shown.document) == (again, device["certificate"])


def test_an_upgraded_store_starts_again(world: World) -> None:
    world.start()
    size = world.room.ledger.journal.size
    world.stop()
    world.start()
    assert world.room.ledger.journal.size == size + 2


def test_doctor_says_that_the_next_start_migrates(world: World, place: Path) -> None:
    def schema() -> tuple[str, str]:
        found = {item.check: item for item in check_database(world.settings(), 4_000_000_000_000_000)}
        return found["schema"].grade, found["schema"].found

    assert schema()[0] == "warning"
    assert "make a backup" in schema()[1]
    world.start()
    assert schema()[0] == "well"


def test_a_migration_that_fails_leaves_the_old_store(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("the power is cut")

    before = read_version(place)
    store = Store(f"sqlite:///{place / 'data' / 'kedge.db'}")
    try:
        with monkeypatch.context() as patch:
            patch.setattr("alembic.runtime.migration.HeadMaintainer.update_to_step", fail)
            with pytest.raises(RuntimeError, match="power"):
                store.migrate()
        assert read_version(place) == before
        store.migrate()
    finally:
        store.close()
    assert read_version(place) > before
