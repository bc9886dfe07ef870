"""Releases end to end: repeats, tokens, crashes, pipelines at once, keys that stay apart, images that others verify."""

import asyncio
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ceremonies import commands
from ceremonies.commands import Problem, ReleaseSigned
from ceremonies.orders import Actor, Order
from ceremonies.releases import Releases, split_segments
from ceremonies.room import Room
from ceremonies.tables import ReleaseRow
from ceremonies.trustsets import cose_key, newest_set
from hsm.errors import KeyNotFound
from pki.drafts import Draft
from pki.formats.mcuboot import draft_image, prepare_image, read_image
from pki.formats.mcuboot_verify import verify_image
from pki.trust.cose import parse_sign
from pki.trust.manifests import FirmwareManifest, draft_manifest, verify_manifest
from tests.ceremonies.field import (
    ask_release,
    count_rules,
    make_image,
    problem,
    read_leaves,
    refuse_release,
    rotation_plan,
    sign_release,
)
from tests.ceremonies.templates import on_both_keys
from tests.ceremonies.test_quorums import ROTATION
from tests.softbox import Softbox
from tests.world import World, audit_world

IMGTOOL = Path(__file__).parents[2] / ".tools/py/bin/imgtool"


def key_of(world: World, label: str) -> bytes:
    """The published half of a key: SPKI DER."""
    return world.room.store.blob(world.room.door.keyring.labelled(label).spki) or b""


async def rotate(world: World) -> None:
    """Publish the set (0, 1)."""
    await world.ceremony("rotate", "trust-set", rotation_plan())


@pytest.mark.req("FS-10")
@on_both_keys
def test_the_same_request_gives_the_same_answer_whatever_came_after(genesis_world: World) -> None:
    async def play() -> tuple[ReleaseSigned, ReleaseSigned]:
        first = await sign_release(genesis_world, "2.3.0", 2)
        await sign_release(genesis_world, "2.4.0", 3)
        await rotate(genesis_world)
        for artefact in genesis_world.settings().spool.iterdir():
            artefact.unlink()
        command = await ask_release(genesis_world, "2.3.0", 2)
        return first, await genesis_world.ask(command, "pipeline", ReleaseSigned)

    first, again = asyncio.run(play())
    assert (first.replayed, again.replayed) == (False, True)
    assert (again.image, again.manifest) == (first.image, first.manifest)
    assert (again.image_proven.index, again.manifest_proven.index) == (
        first.image_proven.index,
        first.manifest_proven.index,
    )


@pytest.mark.req("FS-10", "T1")
@on_both_keys
def test_ids_versions_and_tokens_are_spent_by_one_request(genesis_world: World) -> None:
    token = genesis_world.role_token("pipeline")

    async def play() -> list[Problem]:
        command = await ask_release(genesis_world, "2.3.0", 2)
        await genesis_world.ask(command, "", ReleaseSigned, token)
        assert (await genesis_world.ask(command, "", ReleaseSigned, token)).replayed
        other = await ask_release(genesis_world, "2.4.0", 2)
        same_id = msgspec.structs.replace(other, id=command.id)
        return [
            await refuse_release(genesis_world, "2.3.0", 2, id="release-other", image=make_image("2.3.0", b"other")),
            problem(await genesis_world.try_ask(same_id, "pipeline")),
            problem(await genesis_world.try_ask(other, token=token)),
        ]

    refused = asyncio.run(play())
    assert [item.code for item in refused] == ["release-refused", "request-mismatch", "token-replayed"]
    leaves = read_leaves(genesis_world)
    assert count_rules(leaves, "version-increases") == 1
    assert count_rules(leaves, "request-mismatch:") == 1
    assert count_rules(leaves, "token-replayed:") == 1


def test_a_failed_request_keeps_its_version_from_other_contents(
    genesis_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def play() -> Problem:
        with monkeypatch.context() as patch:
            patch.setattr(Softbox, "sign", fail)
            assert (await refuse_release(genesis_world, "2.3.0", 2)).code == KeyNotFound.code
        return await refuse_release(genesis_world, "2.3.0", 2, id="release-other", image=make_image("2.3.0", b"other"))

    assert asyncio.run(play()).code == "version-taken"
    assert asyncio.run(sign_release(genesis_world, "2.3.0", 2)).version == "2.3.0"


def fail(*_: object) -> bytes:
    """A token that does not sign."""
    raise KeyNotFound("the token is away")


def break_second_seal(monkeypatch: pytest.MonkeyPatch) -> None:
    """The keyroom dies after the image is sealed, before the manifest is."""
    seal, calls = Room.seal, []

    async def dying(room: Room, order: Order) -> Any:
        calls.append(order.name)
        if len(calls) == 2:
            raise ConnectionAbortedError
        return await seal(room, order)

    monkeypatch.setattr(Room, "seal", dying)


def test_a_crash_between_image_and_manifest_is_completed_by_the_same_request(
    genesis_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def play() -> tuple[Problem, ReleaseSigned]:
        command = await ask_release(genesis_world, "2.3.0", 2)
        with monkeypatch.context() as patch:
            break_second_seal(patch)
            died = problem(await genesis_world.try_ask(command, "pipeline"))
        sealed = genesis_world.room.store.list(ReleaseRow, "id")
        assert not sealed
        return died, await genesis_world.ask(command, "pipeline", ReleaseSigned)

    died, signed = asyncio.run(play())
    assert died.code == "internal-error"
    assert read_image(signed.image).version_text == "2.3.0"
    images = [leaf for leaf in read_leaves(genesis_world) if leaf.op and leaf.op.kind == "image.mcuboot"]
    assert [leaf.type for leaf in images] == ["key.sign.intent", "key.sign.outcome"]


@on_both_keys
def test_what_overtook_an_interrupted_release_wins(genesis_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def play() -> list[Problem]:
        interrupted = [await ask_release(genesis_world, version, 2) for version in ("2.3.0", "2.4.1")]
        with monkeypatch.context() as patch:
            break_second_seal(patch)
            await genesis_world.try_ask(interrupted[0], "pipeline")
        await sign_release(genesis_world, "2.4.0", 3)
        overtaken = problem(await genesis_world.try_ask(interrupted[0], "pipeline"))
        newer = msgspec.structs.replace(interrupted[1], security_version=3)
        with monkeypatch.context() as patch:
            break_second_seal(patch)
            await genesis_world.try_ask(newer, "pipeline")
        await rotate(genesis_world)
        return [overtaken, problem(await genesis_world.try_ask(newer, "pipeline"))]

    by_release, by_set = asyncio.run(play())
    assert by_release.details["rule"] == "version-increases"
    # The image was signed by the leaving key alone: under the new set it must never get a manifest.
    assert by_set.details["rule"] == "trust-set"
    assert len(genesis_world.room.store.list(ReleaseRow, "id")) == 1


def test_an_interrupted_manifest_does_not_block_those_after_it(
    genesis_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign, calls = Softbox.sign, []

    def away(box: Softbox, *arguments: Any) -> bytes:
        calls.append(1)
        return fail() if len(calls) == 2 else sign(box, *arguments)  # image, manifest

    async def play() -> list[int]:
        with monkeypatch.context() as patch:
            patch.setattr(Softbox, "sign", away)
            await refuse_release(genesis_world, "2.3.0", 2)
        await sign_release(genesis_world, "2.4.0", 2)
        await sign_release(genesis_world, "2.5.0", 2)
        return [row["sequence"] for row in genesis_world.room.store.list(ReleaseRow, "sequence")]

    assert asyncio.run(play()) == [2, 3]


@pytest.mark.parametrize(
    ("order", "rows"), [(("2.3.0", "2.4.0"), [("2.3.0", 1), ("2.4.0", 2)]), (("2.4.0", "2.3.0"), [("2.4.0", 1)])]
)
def test_pipelines_at_once_leave_one_order(
    genesis_world: World, order: tuple[str, str], rows: list[tuple[str, int]]
) -> None:
    async def play() -> list[Any]:
        asks = [await ask_release(genesis_world, version, 2) for version in order]
        return await asyncio.gather(*[genesis_world.try_ask(ask, "pipeline") for ask in (*asks, asks[0])])

    answers = asyncio.run(play())
    released = genesis_world.room.store.list(ReleaseRow, "sequence")
    assert [(row["version"], row["sequence"]) for row in released] == rows
    assert isinstance(answers[0], ReleaseSigned) and isinstance(answers[2], ReleaseSigned)
    assert answers[2].manifest == answers[0].manifest
    refused = [answer.details["rule"] for answer in answers if isinstance(answer, Problem)]
    assert refused == ["version-increases"] * (2 - len(rows))


@pytest.mark.req("T17")
def test_image_keys_never_sign_cose_and_cose_keys_never_images(genesis_world: World) -> None:
    store, keyring = genesis_world.room.store, genesis_world.room.door.keyring
    signed = asyncio.run(sign_release(genesis_world, "2.3.0", 2))
    manifest = FirmwareManifest.from_payload(parse_sign(signed.manifest).payload)
    prepared = prepare_image(
        read_image(make_image("2.3.0")), security_counter=2, class_id=bytes(16), vendor_id=bytes(16)
    )
    drafts: list[Draft] = [
        draft_manifest(newest_set(store), manifest, [cose_key(store, keyring.labelled("image-app-1").spki)]),
        *(
            draft_image(prepared, [key_of(genesis_world, label)], summary="an image", what={})
            for label in ("manifest-signer", "oem-root-1", "counter-1", "director", "device-ca")
        ),
    ]
    for draft in drafts:
        order = Order(draft=draft, by=Actor("", "pipeline", "", ""), name="oracle")
        with pytest.raises(Exception, match="never signs"):
            asyncio.run(genesis_world.room.seal(order))
    assert count_rules(read_leaves(genesis_world), "key-purpose-refused:") == len(drafts)


@pytest.mark.req("RO-2")
@on_both_keys
def test_channels_decide_which_keys_sign(genesis_world: World) -> None:
    async def play() -> tuple[ReleaseSigned, ReleaseSigned]:
        await sign_release(genesis_world, "2.3.0", 2)
        await rotate(genesis_world)
        bridge = await sign_release(genesis_world, "2.4.0", 2, channel="transition")
        return bridge, await sign_release(genesis_world, "2.5.0", 2)

    bridge, after = asyncio.run(play())
    old, new = key_of(genesis_world, "image-app-1"), key_of(genesis_world, "image-app-2")
    for key in (old, new):
        assert verify_image(bridge.image, [key]).keys
    assert len(verify_image(bridge.image, [old, new]).keys) == 2
    verify_image(bridge.image, [old], match_keys=False)  # the key that devices hold stands last (docs/adr/0007)
    verify_image(after.image, [new])
    with pytest.raises(Exception, match="known key"):
        verify_image(after.image, [old])
    newest = newest_set(genesis_world.room.store)
    for signed in (bridge, after):
        assert verify_manifest(newest, signed.manifest).set_ref == newest.ref
    assert asyncio.run(audit_world(genesis_world)).verdict == "authenticated"


@pytest.mark.req("FS-12")
@on_both_keys
def test_imgtool_verifies_each_signature(genesis_world: World, tmp_path: Path) -> None:
    async def play() -> bytes:
        await rotate(genesis_world)
        return (await sign_release(genesis_world, "2.4.0", 2, channel="transition")).image

    image = tmp_path / "image.bin"
    image.write_bytes(asyncio.run(play()))
    listed = asyncio.run(genesis_world.ask(commands.ListKeys(), "auditor", commands.KeysListed))
    for label, status in (("image-app-1", 0), ("image-app-2", 0), ("manifest-signer", 1)):
        key = tmp_path / f"{label}.pem"
        key.write_bytes(pem_of(next(item.public_key for item in listed.keys if item.label == label)))
        done = subprocess.run([IMGTOOL, "verify", "-k", key, image], capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stdout + done.stderr


def pem_of(der: bytes) -> bytes:
    """A public key as imgtool reads it."""
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_der_public_key(der)
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def test_segments_lie_end_to_end() -> None:
    segments = split_segments(bytes(150_000))
    assert [(item.offset, item.size) for item in segments] == [(0, 65536), (65536, 65536), (131072, 18928)]


def test_a_release_that_a_device_would_refuse_is_not_given_out(
    genesis_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = Releases._manifest

    def broken(releases: Releases, *arguments: Any) -> FirmwareManifest:
        made = manifest(releases, *arguments)
        component = msgspec.structs.replace(made.component, security_version=made.component.security_version + 1)
        return msgspec.structs.replace(made, component=component)

    monkeypatch.setattr(Releases, "_manifest", broken)
    refused = asyncio.run(refuse_release(genesis_world, "2.3.0", 2))
    assert refused.code == "rehearsal-failed"
    assert not genesis_world.room.store.list(ReleaseRow, "id")


@pytest.mark.parametrize("failing", [1, 2], ids=["image", "manifest"])
@pytest.mark.parametrize("rotated", [False, True])
def test_a_request_that_was_left_open_is_sealed_as_it_was_or_overtaken(
    genesis_world: World, monkeypatch: pytest.MonkeyPatch, failing: int, rotated: bool
) -> None:
    """The bytes of the open intent and no others; where a set came in between, a sentence that says what to do."""
    sign, calls = Softbox.sign, []

    def away(box: Softbox, *arguments: Any) -> bytes:
        calls.append(1)
        return fail() if len(calls) == failing else sign(box, *arguments)  # image, manifest

    async def play() -> commands.AnyResult | Problem:
        command = await ask_release(genesis_world, "2.3.0", 2)
        with monkeypatch.context() as patch:
            patch.setattr(Softbox, "sign", away)
            assert problem(await genesis_world.try_ask(command, "pipeline")).code == KeyNotFound.code
        if rotated:  # for a manifest that stays open, a set with the same image key
            plan = rotation_plan() if failing == 1 else ROTATION
            await genesis_world.ceremony("rotate", "trust-set", plan)
        return await genesis_world.try_ask(command, "pipeline")

    answer = asyncio.run(play())
    if rotated:
        assert problem(answer).details["rule"] == "trust-set"
        assert not genesis_world.room.store.list(ReleaseRow, "id")
    else:
        assert isinstance(answer, ReleaseSigned)
    kind = "image.mcuboot" if failing == 1 else "fw-manifest"
    opened = [
        leaf.op.digest
        for leaf in read_leaves(genesis_world)
        if leaf.type == "key.sign.intent" and leaf.op and leaf.op.kind == kind
    ]
    assert len(set(opened)) == 1
    assert asyncio.run(audit_world(genesis_world)).verdict == "authenticated"
