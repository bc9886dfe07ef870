"""Reads: what is public, what is recorded, what is not told."""

import asyncio
import hashlib

import pytest

from ceremonies import commands
from ceremonies.commands import Problem
from ceremonies.queries import list_keys
from pki.log.tiles import parse_tile_path
from tests.ceremonies.examples import read_leaves
from tests.world import CLASS, World, plan_keys, soft_world


def document_digest(world: World, name: str) -> str:
    shown = asyncio.run(world.ask(commands.ShowCeremony("genesis"), "officer", commands.CeremonyShown))
    return next(digest for _, found, digest in shown.documents if found == name)


def test_a_document_comes_with_its_entry_and_its_proof(genesis_world: World) -> None:
    digest = document_digest(genesis_world, f"birth-package-{CLASS}")
    read = asyncio.run(genesis_world.ask(commands.ReadDocument(digest), "auditor", commands.DocumentRead))
    assert (read.kind, read.name) == ("birth-package", f"birth-package-{CLASS}")
    assert hashlib.sha256(read.document).hexdigest() == digest
    assert digest.encode() in read.proven.entry
    assert read.proven.proof.startswith(b"c2sp.org/tlog-proof@v1\n")
    shown = asyncio.run(genesis_world.ask(commands.ShowProof(digest), "", commands.ProofShown))
    assert (shown.proven.index, shown.proven.entry) == (read.proven.index, read.proven.entry)


@pytest.mark.req("AU-4")
@pytest.mark.parametrize(
    ("command", "what"),
    [
        (commands.ReadTile("tile/0/000.p/5"), {"tile": "tile/0/000.p/5"}),
        (commands.ListKeys(), {"list": "keys"}),
        (commands.ListCeremonies(), {"command": "list-ceremonies"}),
        (commands.ShowCeremony("genesis"), {"command": "show-ceremony", "id": "genesis"}),
    ],
)
def test_who_read_what_is_an_entry(genesis_world: World, command: commands.AnyCommand, what: dict[str, str]) -> None:
    before = genesis_world.room.ledger.journal.size
    answer = asyncio.run(genesis_world.try_ask(command, "auditor"))
    assert not isinstance(answer, Problem)
    (entry,) = read_leaves(genesis_world, before)
    assert (entry["type"], entry["op"]["what"], entry["actor"]["role"]) == ("export", what, "auditor")


@pytest.mark.parametrize(
    "command",
    [
        commands.ReadDocument("0" * 64),
        commands.ShowProof("f" * 64),
        commands.ReadTile("tile/9/000"),
        commands.ReadTile("../kedge.db"),
        commands.ReadTile("tile/entries/000"),
        commands.ReadTile(""),
    ],
)
def test_what_is_not_there_is_not_read(genesis_world: World, command: commands.AnyCommand) -> None:
    answer = asyncio.run(genesis_world.try_ask(command, "auditor"))
    assert isinstance(answer, Problem)
    assert answer.code != "internal-error"


def test_a_blob_is_no_document(genesis_world: World) -> None:
    """Requests, statements and approvals lie in the database under their digests; nobody reads them as documents."""
    leaf = next(leaf for leaf in read_leaves(genesis_world) if leaf["type"] == "approval")
    digest = leaf["op"]["what"]["statement"]
    assert genesis_world.room.store.blob(digest)
    answer = asyncio.run(genesis_world.try_ask(commands.ReadDocument(digest), "auditor"))
    assert isinstance(answer, Problem)
    assert answer.code == "document-unknown"


def test_public_lists(genesis_world: World) -> None:
    async def names(command: commands.AnyCommand) -> list[str]:
        listed = await genesis_world.ask(command, "", commands.DocumentsListed)
        assert all(hashlib.sha256(data).hexdigest() == digest for _, digest, data in listed.documents)
        return [name for name, _, _ in listed.documents]

    assert asyncio.run(names(commands.ListTrustSets())) == ["set-0-0"]
    assert asyncio.run(names(commands.ListTrustSets(1))) == []
    assert asyncio.run(names(commands.ListCertificates())) == ["device-ca", "identity-root", "site-ca"]
    assert asyncio.run(names(commands.ListCounterUpdates())) == []


def test_tiles_are_those_of_the_log(genesis_world: World) -> None:
    size = genesis_world.room.ledger.journal.size
    path = f"tile/0/000.p/{size}"
    assert parse_tile_path(path).width == size
    read = asyncio.run(genesis_world.ask(commands.ReadTile(path), "auditor", commands.TileRead))
    assert len(read.data) == 32 * size


def test_health_before_and_after_genesis(genesis_world: World, tmp_path_factory: pytest.TempPathFactory) -> None:
    health = asyncio.run(genesis_world.ask(commands.ShowHealth(), "", commands.HealthShown))
    assert (health.ready, health.problems) == (True, ())
    assert health.vkey.startswith("kedge.example/journal+")
    assert health.size == health.metrics["journal_entries"] == genesis_world.room.ledger.journal.size
    empty = soft_world(tmp_path_factory.mktemp("empty")).start()
    health = asyncio.run(empty.ask(commands.ShowHealth(), "", commands.HealthShown))
    assert (health.ready, health.vkey) == (False, "")
    empty.stop()


def test_an_open_operation_is_a_problem(genesis_world: World) -> None:
    genesis_world.room.ledger.settled = False
    health = asyncio.run(genesis_world.ask(commands.ShowHealth(), "", commands.HealthShown))
    assert not health.ready
    assert "operation is open" in health.problems[0]


def test_keys_are_listed_by_label(genesis_world: World) -> None:
    labels = [key.label for key in list_keys(genesis_world.room).keys]
    assert labels == sorted(labels)
    assert len(labels) == len(plan_keys())
