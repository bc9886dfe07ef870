"""Planned sets and transition releases: what a plan must hold, one set for each index, nothing that bricks."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ceremonies import commands
from ceremonies.commands import CeremonyShown, Problem
from ceremonies.rehearsals import RehearsalFailed
from ceremonies.tables import TrustSetRow
from ceremonies.trustsets import load_sets, newest_set
from pki.trust.cose import parse_sign, verified_kids
from pki.trust.device import Device
from pki.trust.device_errors import WriteFailed
from pki.trust.indexes import verify_index
from pki.trust.links import check_possession, verify_chain, verify_genesis
from pki.trust.manifests import FirmwareManifest
from tests.ceremonies.field import (
    execute,
    list_sets,
    problem,
    propose,
    read_leaves,
    refuse_release,
    rotation_plan,
    sign_release,
)
from tests.ceremonies.rotated import Fleet, rotate
from tests.ceremonies.templates import Keys, Templates, on_both_keys
from tests.engines import Engine
from tests.world import CLASS, World, audit_world, plan_set

Change = Callable[[dict[str, Any]], None]


def set_roles(**roles: Any) -> Change:
    def change(plan: dict[str, Any]) -> None:
        for name, groups in roles.items():
            plan["trust_set"]["roles"][name.replace("_", "-")] = groups

    return change


def drop_role(name: str) -> Change:
    return lambda plan: plan["trust_set"]["roles"].pop(name)


def group(threshold: int, *labels: str, **scope: str) -> list[dict[str, Any]]:
    return [{"threshold": threshold, "labels": list(labels), **scope}]


def set_recovery(threshold: int, *labels: str) -> Change:
    return lambda plan: plan["trust_set"].update(recovery=group(threshold, *labels)[0])


def set_key(**fields: str) -> Change:
    return lambda plan: plan["keys"][0].update(fields)


@pytest.mark.req("RO-2", "RO-4")
@pytest.mark.parametrize(
    ("code", "message", "change"),
    [
        ("plan-malformed", "2 keys of the present oem-root", lambda plan: plan.update(signers=["oem-root-2"])),
        ("plan-malformed", "2 keys of the present", lambda plan: plan.update(signers=["oem-root-2", "oem-root-2"])),
        ("plan-malformed", "signer director", lambda plan: plan.update(signers=["oem-root-2", "director"])),
        ("plan-malformed", "recovery commitment", set_recovery(2, "recovery-1", "recovery-2")),
        ("plan-malformed", "recovery commitment", set_recovery(1, "recovery-1", "recovery-2", "recovery-3")),
        ("plan-malformed", "no manifest-signer key", set_roles(manifest_signer=group(1, "director"))),
        ("plan-malformed", "no image-app key", set_roles(image_app=group(1, "oem-root-1", class_name=CLASS))),
        ("plan-malformed", "no role admin", set_roles(admin=group(1, "director"))),
        ("plan-malformed", "image_app", drop_role("image-app")),
        ("plan-malformed", "counter", drop_role("counter")),
        ("plan-malformed", "manifest_signer", drop_role("manifest-signer")),
        ("plan-malformed", "elsewhere", set_key(token="kedge-recovery")),
        ("plan-malformed", "one label", set_key(label="oem-root-1")),
        ("plan-malformed", "journal key", set_key(role="journal", algorithm="ed25519", token="kedge-journal")),
        ("plan-malformed", "recovery key", set_key(role="recovery", token="kedge-recovery")),
        ("key-purpose-refused", "p384", set_key(algorithm="p384")),
        ("key-unknown", "oem-root-9", set_roles(oem_root=group(2, "oem-root-2", "oem-root-9"))),
        ("class-unknown", "pcs", set_roles(image_app=group(1, "image-app-2", class_name="pcs"))),
        ("set-malformed", "threshold", set_roles(oem_root=group(3, "oem-root-2", "oem-root-3"))),
        ("set-malformed", "threshold of 2", set_roles(counter=group(1, "counter-1", "counter-2"))),
        ("set-malformed", "scope", set_roles(oem_root=group(1, "oem-root-2") + group(1, "oem-root-3"))),
    ],
)  # fmt: skip
def test_a_plan_that_makes_no_set_is_refused_before_a_key_is_made(
    refusing_genesis: World, code: str, message: str, change: Change
) -> None:
    plan = rotation_plan()
    change(plan)
    refused = problem(asyncio.run(propose(refusing_genesis, "rotate", "trust-set", plan)))
    assert (refused.code, message in refused.message) == (code, True), refused.message
    assert "oem-root-4" not in {key.label for key in refusing_genesis.room.door.keyring}


@on_both_keys
def test_a_suspended_key_neither_signs_nor_enters(genesis_world: World) -> None:
    async def play() -> list[Problem]:
        await genesis_world.ask(commands.SuspendKey("oem-root-3", "lost"), "officer", commands.KeysListed)
        signing = rotation_plan()
        entering = rotation_plan(signers=["oem-root-1", "oem-root-2"])
        return [problem(await propose(genesis_world, "rotate", "trust-set", plan)) for plan in (signing, entering)]

    signing, entering = asyncio.run(play())
    assert "signer oem-root-3" in signing.message
    assert "oem-root-3 is suspended" in entering.message


@pytest.mark.req("RO-2", "RO-3")
@on_both_keys
def test_a_set_is_signed_by_the_old_threshold_and_every_new_root(genesis_world: World) -> None:
    async def play() -> tuple[bytes, ...]:
        await genesis_world.ceremony("rotate", "trust-set", rotation_plan())
        return await list_sets(genesis_world)

    first, second = asyncio.run(play())
    genesis = verify_genesis(first)
    newest = verify_chain(genesis, [second])
    check_possession(genesis, second)
    keyring = genesis_world.room.door.keyring
    signed = {kid.hex() for kid in verified_kids(parse_sign(second), (*genesis.keys, *newest.keys))}
    assert signed == {keyring.labelled(f"oem-root-{n}").thumbprint for n in (2, 3, 4)}
    assert (newest.generation, newest.epoch, newest.recovery) == (0, 1, genesis.recovery)
    assert asyncio.run(audit_world(genesis_world)).verdict == "authenticated"


@pytest.mark.req("HS-9")
def test_a_ceremony_makes_a_probe_key_for_a_token_that_has_none(genesis_world: World) -> None:
    plan = rotation_plan()
    probe = {"label": "probe-recovery", "role": "probe", "algorithm": "p256", "token": "kedge-recovery"}
    plan["keys"] = [*plan["keys"], probe]
    asyncio.run(genesis_world.ceremony("rotate", "trust-set", plan))
    found = {(key.label, key.token) for key in genesis_world.room.door.keyring.active("probe")}
    assert found == {("probe", "kedge-main"), ("probe-recovery", "kedge-recovery")}


async def prepare_set(world: World, name: str, label: str) -> None:
    """A rotation to the point where only its results wait for execution."""
    key = {"label": label, "role": "oem-root", "algorithm": "p256", "token": "kedge-main"}
    trust_set = plan_set((2, 3))
    trust_set["roles"]["oem-root"][0]["labels"].append(label)
    plan = {"keys": [key], "trust_set": trust_set, "signers": ["oem-root-2", "oem-root-3"]}
    await world.propose(name, "trust-set", plan)
    await world.approve(name, "plan", "bob", "carol")
    assert isinstance(await execute(world, name, "plan"), CeremonyShown)
    await world.approve(name, "results", "bob", "carol")


@pytest.mark.parametrize("at_once", [False, True])
def test_one_signed_set_for_each_index_s1(genesis_world: World, at_once: bool) -> None:
    async def play() -> list[Any]:
        await prepare_set(genesis_world, "rotate", "oem-root-4")
        await prepare_set(genesis_world, "other", "oem-root-5")
        if at_once:
            return await asyncio.gather(*[execute(genesis_world, name, "results") for name in ("rotate", "other")])
        return [await execute(genesis_world, name, "results") for name in ("rotate", "other")]

    first, second = asyncio.run(play())
    assert isinstance(first, CeremonyShown)
    assert problem(second).code == "step-outdated"
    assert [row["index"] for row in genesis_world.room.store.list(TrustSetRow, "index")] == [0, 1]
    assert len(sets_signed(genesis_world)) == 1


def sets_signed(world: World) -> list[str]:
    """The digests of planned sets that keys were asked to sign."""
    leaves = [leaf for leaf in read_leaves(world) if leaf.type == "key.sign.intent" and leaf.op]
    return [
        str(leaf.op.digest)
        for leaf in leaves
        if leaf.op and leaf.op.kind == "trust-set" and leaf.op.what and leaf.op.what["set_kind"] == "planned"
    ]


def test_a_set_that_a_device_would_not_take_is_not_published_s4(
    genesis_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def receive(*_: object) -> None:
        raise WriteFailed("the bank does not read back")

    async def play() -> Problem:
        await prepare_set(genesis_world, "rotate", "oem-root-4")
        monkeypatch.setattr(Device, "receive_sets", receive)
        return problem(await execute(genesis_world, "rotate", "results"))

    refused = asyncio.run(play())
    assert (refused.code, WriteFailed.code in refused.message) == (RehearsalFailed.code, True)
    assert newest_set(genesis_world.room.store).index == 0


# ---- transition ----


@pytest.fixture
def rotated(templates: Templates, engine: Engine, keys: Keys, tmp_path: Path) -> Iterator[Fleet]:
    """A fleet without a device after the set (0, 1) and its transition release."""
    fleet = templates.fleet(rotate, 0, engine, keys).copy(tmp_path / "world")
    yield fleet
    fleet.world.stop()


@pytest.mark.req("RO-2", "T33")
@on_both_keys
def test_a_transition_index_leads_to_the_newest_set(rotated: Fleet) -> None:
    async def play() -> bytes:
        shown = await rotated.world.ceremony("bridge", "transition", {"release": "release-2.4.0", "start": 0})
        ((kind, _, digest),) = shown.documents
        assert kind == "transition-index"
        return rotated.world.room.store.blob(digest) or b""

    (genesis, _), (newest, _) = load_sets(rotated.world.room.store)
    index = verify_index(newest, asyncio.run(play()))
    manifest = FirmwareManifest.from_payload(parse_sign(rotated.releases["2.4.0"].manifest).payload)
    (release,) = index.classes.values()
    assert (index.from_set, index.to_set) == (genesis.ref, newest.ref)
    assert release.active == release.fallback == manifest.payload_sha256


@pytest.mark.parametrize(
    ("code", "plan"),
    [
        ("release-unknown", {"release": "release-9.9.9", "start": 0}),
        ("release-unknown", {"release": "release-2.3.0", "start": 0}),
        ("release-unknown", {"release": "release-2.5.0", "start": 0}),
        ("no-trust-set", {"release": "release-2.4.0", "start": 1}),
        ("plan-malformed", {"release": "release-2.4.0", "start": -1}),
    ],
)
def test_only_a_bridge_to_the_newest_set_is_offered(rotated: Fleet, code: str, plan: dict[str, Any]) -> None:
    async def play() -> Problem:
        await sign_release(rotated.world, "2.5.0", 3)
        return problem(await propose(rotated.world, "bridge", "transition", plan))

    assert asyncio.run(play()).code == code


@pytest.mark.req("T33")
@pytest.mark.parametrize("step", ["opening", "execution"])
def test_a_bundle_that_the_simulator_bricks_is_refused_s4(
    rotated: Fleet, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model of a bootloader that revokes the key that booted it."""

    async def play() -> Problem:
        plan = {"release": "release-2.4.0", "start": 0}
        if step == "execution":
            await rotated.world.propose("bridge", "transition", plan)
            await rotated.world.approve("bridge", "plan", "bob", "carol")
        monkeypatch.setattr("pki.trust.rehearsal.boots", lambda *_: False)
        if step == "execution":
            return problem(await execute(rotated.world, "bridge", "plan"))
        return problem(await propose(rotated.world, "bridge", "transition", plan))

    refused = asyncio.run(play())
    assert (refused.code, "does not boot" in refused.message) == (RehearsalFailed.code, True)


def test_after_another_set_the_bridge_is_none(rotated: Fleet) -> None:
    async def play() -> Problem:
        await rotated.world.propose("bridge", "transition", {"release": "release-2.4.0", "start": 0})
        await rotated.world.approve("bridge", "plan", "bob", "carol")
        plan = {"keys": [], "trust_set": plan_set((2, 3, 4), "image-app-2"), "signers": ["oem-root-2", "oem-root-3"]}
        await rotated.world.ceremony("again", "trust-set", plan)
        return problem(await execute(rotated.world, "bridge", "plan"))

    assert asyncio.run(play()).code == "release-unknown"


@on_both_keys
def test_without_the_leaving_key_there_is_no_bridge(rotated: Fleet) -> None:
    async def play() -> Problem:
        await rotated.world.ask(commands.SuspendKey("image-app-1", "leaving"), "officer", commands.KeysListed)
        return await refuse_release(rotated.world, "2.6.0", 3, channel="transition")

    assert asyncio.run(play()).code == "no-trust-set"
