"""Genesis: what exists afterwards, and what cannot begin."""

import asyncio
import copy
import datetime
import hashlib
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ceremonies import commands
from ceremonies.commands import CeremonyShown, ExecuteStep, Problem, ShowCeremony
from ceremonies.genesis import draw_number
from ceremonies.logkey import read_checkpoint
from pki.log.checkpoints import parse_checkpoint
from pki.trust.cose import parse_sign
from pki.trust.links import verify_genesis
from pki.x509.chains import verify_chain
from tests.ceremonies.examples import read_leaves
from tests.ceremonies.templates import on_both_keys
from tests.world import CLASS, FLEET, World, audit_files, export_journal, plan_keys, soft_keys, soft_world, token_keys


def documents(world: World, command: Any) -> dict[str, bytes]:
    """Public documents by name."""
    listed = asyncio.run(world.ask(command, "", commands.DocumentsListed))
    return {name: data for name, _, data in listed.documents}


@pytest.mark.req("MP-1")
@on_both_keys
def test_the_keys_are_those_of_the_plan(genesis_world: World) -> None:
    listed = asyncio.run(genesis_world.ask(commands.ListKeys(), "auditor", commands.KeysListed))
    found = {key.label: key for key in listed.keys}
    planned = {key["label"]: key for key in plan_keys()}
    assert found.keys() == planned.keys()
    entries = {key.label: key for key in genesis_world.room.door.keyring}
    for label, plan in planned.items():
        assert (found[label].role, found[label].algorithm) == (plan["role"], plan["algorithm"])
        assert entries[label].token == plan["token"]
        assert found[label].state == ("pre-activation" if plan["role"] == "recovery" else "active")
        assert (found[label].public_key == b"") == (plan["role"] == "recovery")
        if found[label].public_key:
            assert hashlib.sha256(found[label].public_key).hexdigest() == found[label].spki


@on_both_keys
def test_the_recovery_keys_are_seen_nowhere(genesis_world: World) -> None:
    """Their thumbprints are published, their public halves not: not in a blob, not in an export, not in an entry."""
    keys = token_keys(genesis_world)
    points = []
    for key in genesis_world.room.door.keyring:
        if key.role == "recovery":
            der = keys[key.token, bytes.fromhex(key.cka_id)]
            points += [der[-64:], der[-64:-32], der[-64:-32].hex().encode()]
    assert len(points) == 9
    files = asyncio.run(export_journal(genesis_world))
    database = genesis_world.path / "data"
    everything = [*files.values(), *(path.read_bytes() for path in database.rglob("*") if path.is_file())]
    assert sum(len(data) for data in everything) > 100_000
    assert [point for point in points for data in everything if point in data] == []


@pytest.mark.req("CA-8")
@on_both_keys
def test_the_certificates_verify(genesis_world: World, tmp_path: Path) -> None:
    found = documents(genesis_world, commands.ListCertificates())
    assert found.keys() == {"identity-root", "device-ca", "site-ca", "service-ca"}
    now = datetime.datetime.now(datetime.UTC)
    for name, data in found.items():
        (tmp_path / f"{name}.pem").write_bytes(data)
        certificate = x509.load_pem_x509_certificate(data)
        assert certificate.public_bytes(Encoding.PEM) == data
        assert certificate.serial_number.bit_length() > 120
    for name in ("device-ca", "site-ca", "service-ca"):
        verify_chain(found[name], [], found["identity-root"], now)
        root = tmp_path / "identity-root.pem"
        command = ["openssl", "verify", "-x509_strict", "-CAfile", str(root), str(tmp_path / f"{name}.pem")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


@on_both_keys
def test_the_first_trust_set_and_the_birth_package_verify(genesis_world: World) -> None:
    found = documents(genesis_world, commands.ListTrustSets())
    assert found.keys() == {"set-0-0"}
    genesis = verify_genesis(found["set-0-0"])
    assert (genesis.index, genesis.fleet) == (0, FLEET.fleet_id)
    thumbprints = {key.thumbprint: key for key in genesis_world.room.door.keyring}
    assert {thumbprints[kid.hex()].role for kid in genesis.root.members} == {"oem-root"}
    assert {thumbprints[kid.hex()].role for kid in genesis.recovery.thumbprints} == {"recovery"}
    shown = asyncio.run(genesis_world.ask(ShowCeremony("genesis"), "officer", CeremonyShown))
    (digest,) = [digest for _, name, digest in shown.documents if name == f"birth-package-{CLASS}"]
    birth = genesis_world.room.store.blob(digest)
    assert birth is not None
    assert parse_sign(birth).payload
    assert genesis.payload_sha256 in birth


@pytest.mark.req("AU-2")
@on_both_keys
def test_the_first_checkpoint_covers_everything(genesis_world: World) -> None:
    """Nothing could be signed before the journal had a key; the first checkpoint signed all of genesis at once."""
    files = asyncio.run(export_journal(genesis_world))
    report = audit_files(genesis_world, files)
    assert report.verdict == "authenticated"
    log_key = genesis_world.room.ledger.log_key
    assert log_key is not None
    assert parse_checkpoint(read_checkpoint(files["checkpoint"], [log_key.vkey])).size == report.size
    first = read_leaves(genesis_world)[0]
    assert (first["seq"], first["type"]) == (0, "log.start")


@on_both_keys
def test_documents_are_named_by_their_outcomes(genesis_world: World) -> None:
    shown = asyncio.run(genesis_world.ask(ShowCeremony("genesis"), "officer", CeremonyShown))
    outcomes = {
        leaf["out"]["doc"]: leaf["op"]["kind"]
        for leaf in read_leaves(genesis_world)
        if leaf["type"] == "key.sign.outcome" and leaf["out"]["status"] == "ok"
    }
    assert len(shown.documents) == 6
    for kind, _, digest in shown.documents:
        assert outcomes[digest] == kind


async def try_genesis(world: World, plan: dict[str, Any], name: str = "genesis") -> str:
    """Open genesis by a plan: the code of the refusal, or nothing."""
    answer = await world.try_ask(commands.OpenGenesis(name, json.dumps(plan).encode()), "local")
    return answer.code if isinstance(answer, Problem) else ""


@on_both_keys
def test_genesis_happens_once(genesis_world: World) -> None:
    assert asyncio.run(try_genesis(genesis_world, genesis_world.genesis_plan(), "genesis-2")) == "genesis-refused"
    assert genesis_world.room.door.require_governing().genesis is None


def change(*path: str | int, to: Any) -> Callable[[dict[str, Any]], None]:
    """Replace one value of a plan."""

    def apply(plan: dict[str, Any]) -> None:
        place: Any = plan
        for part in path[:-1]:
            place = place[part]
        place[path[-1]] = to

    return apply


def drop(role: str) -> Callable[[dict[str, Any]], None]:
    """Leave out the keys of a role."""

    def apply(plan: dict[str, Any]) -> None:
        plan["keys"] = [key for key in plan["keys"] if key["role"] != role]

    return apply


BAD_PLANS: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "an unknown field": (change("more", to=1), "plan-malformed"),
    "no journal key": (drop("journal"), "plan-malformed"),
    "two journal keys": (
        lambda plan: plan["keys"].append({**plan["keys"][-1], "label": "journal-2"}),
        "plan-malformed",
    ),
    "no identity root": (drop("identity-root"), "plan-malformed"),
    "no recovery key": (drop("recovery"), "key-unknown"),
    "two keys of one label": (change("keys", 1, "label", to="identity-root"), "plan-malformed"),
    "another token": (change("keys", 0, "token", to="kedge-journal"), "plan-malformed"),
    "a role that is none": (change("keys", 0, "role", to="root"), "plan-malformed"),
    "a weaker root": (change("keys", 0, "algorithm", to="p256"), "key-purpose-refused"),
    "an authority without a key": (change("authorities", 1, "label", to="device-ca-2"), "key-unknown"),
    "an authority with another's key": (change("authorities", 1, "label", to="director"), "plan-malformed"),
    "an unknown profile": (change("authorities", 1, "profile", to="leaf"), "profile-unknown"),
    "an authority before its issuer": (change("authorities", 0, "profile", to="device-ca"), "plan-malformed"),
    "a trust set with a stranger": (
        change("trust_set", "roles", "oem-root", 0, "labels", 0, to="oem-root-9"),
        "key-unknown",
    ),
    "a trust set with another's key": (
        change("trust_set", "roles", "oem-root", 0, "labels", 0, to="director"),
        "plan-malformed",
    ),
    "a trust set with a role that is none": (change("trust_set", "roles", "root", to=[]), "plan-malformed"),
    "a class that the policy does not name": (change("births", 0, "class_name", to="toaster"), "class-unknown"),
    "another officer": (change("roster", "officers", 0, "id", to="aaron"), "genesis-refused"),
    "a policy that asks for one": (change("policy", "quorums", "work-order", "m", to=1), "policy-malformed"),
}


@pytest.fixture(scope="module")
def empty_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A started world before genesis, which is refused again and again."""
    world = soft_world(tmp_path_factory.mktemp("empty")).start()
    yield world
    world.stop()


@pytest.mark.parametrize("name", BAD_PLANS)
def test_a_plan_that_cannot_be_carried_out_is_refused_before_a_key_is_made(empty_world: World, name: str) -> None:
    spoil, code = BAD_PLANS[name]
    plan = copy.deepcopy(empty_world.genesis_plan())
    spoil(plan)
    assert asyncio.run(try_genesis(empty_world, plan)) == code
    assert soft_keys(empty_world).keys == {}
    assert empty_world.room.door.governing is None
    (entry,) = read_leaves(empty_world)[-1:]
    assert (entry["type"], entry["op"]["what"]["command"]) == ("auth.fail", "open-genesis")


@pytest.mark.req("MP-1")
def test_nobody_vouches_for_an_absent_officer(tmp_path: Path) -> None:
    world = soft_world(tmp_path).start()

    async def run() -> None:
        await try_genesis(world, world.genesis_plan())
        assert await try_genesis(world, world.genesis_plan(), "second") == "genesis-refused"
        await world.approve("genesis", "plan", "alice", "bob")
        answer = await world.try_ask(ExecuteStep("genesis", "plan"), "local")
        assert isinstance(answer, Problem)
        assert (answer.code, answer.details["missing"]) == ("quorum-not-met", 1)
        assert soft_keys(world).keys == {}
        health = await world.ask(commands.ShowHealth(), "", commands.HealthShown)
        assert (health.ready, health.vkey) == (False, "")

    asyncio.run(run())
    world.stop()


def test_a_number_has_159_bits() -> None:
    assert draw_number(b"\xff" * 20) == (1 << 159) - 1
    assert draw_number(b"\xff" * 20).to_bytes(20)[0] < 0x80
    assert msgspec.json.encode(draw_number(bytes(20))) == b"0"
