"""Reads: what is public, what is recorded, what is not told."""

import asyncio
import hashlib
from collections.abc import Callable

import pytest

from ceremonies import commands
from ceremonies.commands import Problem
from ceremonies.queries import FOR_EVERYBODY, TENANTS, list_keys
from ceremonies.tables import DocumentRow
from ceremonies.writer import KeyroomStopping
from pki.log.tiles import parse_tile_path
from tests.ceremonies.examples import read_leaves
from tests.ceremonies.field import open_challenge, sign_release
from tests.world import CLASS, PLANT, REPOSITORY, World, issue_device, make_request, plan_keys, soft_world

BINDINGS = {"station": {"plant": PLANT, "class": CLASS}, "pipeline": REPOSITORY}


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
        (commands.ListEvents(7), {"read": "events from 7"}),
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
    authorities = ["device-ca", "identity-root", "service-ca", "site-ca"]
    assert asyncio.run(names(commands.ListCertificates())) == authorities
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


def test_a_keyroom_that_can_prove_nothing_is_not_ready(genesis_world: World) -> None:
    genesis_world.room.ledger.log_key = None
    health = asyncio.run(genesis_world.ask(commands.ShowHealth(), "", commands.HealthShown))
    assert not health.ready
    assert "no journal key" in health.problems[0]


def test_a_keyroom_without_its_writer_is_not_ready(genesis_world: World) -> None:
    def leave() -> None:
        raise SystemExit

    answer = asyncio.run(asyncio.wait_for(try_act(genesis_world, leave), 5))
    assert isinstance(answer, KeyroomStopping)
    health = asyncio.run(genesis_world.ask(commands.ShowHealth(), "", commands.HealthShown))
    assert not health.ready
    assert "writer" in health.problems[0]
    genesis_world.stopped = True  # nobody is left to close the tokens
    genesis_world.room.writer.stop()
    genesis_world.room.store.close()


async def try_act(world: World, task: Callable[[], None]) -> Exception | None:
    """What comes of a task on the writer's thread."""
    try:
        await world.room.act(task)
    except KeyroomStopping as error:
        return error
    return None


@pytest.mark.req("AZ-4")
def test_a_tenant_reads_its_own_documents_and_those_for_everybody(factory_world: World) -> None:
    world = factory_world
    ours = {role: world.token(role, **BINDINGS.get(role, {})) for role in sorted(TENANTS)}
    theirs = {role: world.token(role, **BINDINGS.get(role, {}), sub="another") for role in ours}

    async def read(digest: str, token: str) -> str:
        answer = await world.try_ask(commands.ReadDocument(digest), "", token)
        return answer.code if isinstance(answer, Problem) else ""

    async def run() -> None:
        issued = await issue_device(world, 1, make_request())
        released = await sign_release(world, "2.3.0", 2)
        challenge = await open_challenge(world)
        sealed = {
            "station": [issued.certificate], "pipeline": [released.image, released.manifest], "gateway": [challenge],
        }  # fmt: skip
        for owner, documents in sealed.items():
            for digest in (hashlib.sha256(document).hexdigest() for document in documents):
                assert await read(digest, ours[owner]) == ""
                before = world.room.ledger.journal.size
                others = [theirs[owner], *(token for role, token in ours.items() if role != owner)]
                assert {await read(digest, token) for token in others} == {"document-unknown"}
                told = read_leaves(world, before)
                assert [leaf["type"] for leaf in told] == ["auth.fail"] * len(others)
                for role in ("officer", "auditor", "operator"):
                    assert await read(digest, world.role_token(role)) == ""

    asyncio.run(run())
    public = [row for row in world.room.store.list(DocumentRow, "seq") if row["kind"] in FOR_EVERYBODY]
    assert {row["kind"] for row in public} == FOR_EVERYBODY - {
        "counter-update",
        "transition-index",
        "certificate.root-link",
    }
    for row in public:
        assert asyncio.run(read(row["sha256"], theirs["gateway"])) == ""


@pytest.mark.req("AU-4")
def test_who_follows_events_does_not_follow_its_own_steps(genesis_world: World) -> None:
    def read(start: int, role: str = "auditor") -> commands.EventsListed:
        command = commands.ListEvents(start, 500)
        return asyncio.run(genesis_world.ask(command, role, commands.EventsListed))

    before = genesis_world.room.ledger.journal.size
    first = read(0)
    assert (first.following, first.size) == (before, before)
    second = read(first.following)
    assert [(event.type, event.said) for event in second.events] == [("export", "events from 0")]
    assert read(second.following).events == ()
    assert genesis_world.room.ledger.journal.size == before + 1, "one entry for what was told, none for the steps"
    assert read(0).events, "who reads again what was there leaves an entry again"
    assert genesis_world.room.ledger.journal.size == before + 2
    refused = asyncio.run(genesis_world.try_ask(commands.ListEvents(), "station"))
    assert isinstance(refused, Problem)
    assert refused.code == "role-refused"
