"""Whether a release may be signed: each rule refuses, says what it found and expected, and is recorded."""

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ceremonies.admission import find_free, read_version
from ceremonies.commands import Problem
from ceremonies.policy import ReleaseWindow
from ceremonies.store import Insert
from ceremonies.tables import ReservationRow
from pki.formats.mcuboot_tlv import Tlv, TlvType
from tests.ceremonies.field import (
    ask_release,
    count_rules,
    make_image,
    problem,
    read_leaves,
    refuse_release,
    sign_release,
)
from tests.pki.formats.mcuboot_images import build_image
from tests.world import REPOSITORY, World, copy_world

OTHER = bytes(range(16))


@pytest.fixture(scope="module")
def released_template(genesis_template: World, tmp_path_factory: pytest.TempPathFactory) -> World:
    """A stopped world with release 2.2.1, security version 2."""
    world = copy_world(genesis_template, tmp_path_factory.mktemp("released")).start()
    asyncio.run(sign_release(world, "2.2.1", 2))
    world.stop()
    return world


@pytest.fixture
def released_world(released_template: World, tmp_path: Path) -> Iterator[World]:
    """A started world with release 2.2.1."""
    world = copy_world(released_template, tmp_path / "world").start()
    yield world
    world.stop()


def change_rules(world: World, **changes: Any) -> None:
    """Put other release rules in force, as a policy ceremony would."""
    governing = world.room.door.require_governing()
    rules = tuple(msgspec.structs.replace(rule, **changes) for rule in governing.policy.releases)
    policy = msgspec.structs.replace(governing.policy, releases=rules)
    world.room.door.governing = msgspec.structs.replace(governing, policy=policy)


def stated(*protected: Tlv, version: tuple[int, int, int, int] = (2, 3, 0, 0)) -> bytes:
    """An image that states facts of its own."""
    return build_image(protected, version=version)


@pytest.mark.req("FS-2", "FS-10")
@pytest.mark.parametrize(
    ("rule", "version", "security_version", "changes"),
    [
        ("image-version", "2.3.0", 2, {"image": make_image("2.3.1")}),
        ("image-version", "2.3.0", 2, {"image": stated(version=(2, 3, 0, 7))}),
        ("image-security-counter", "2.3.0", 2, {"image": stated(Tlv(TlvType.SEC_CNT, (3).to_bytes(4, "little")))}),
        ("image-class", "2.3.0", 2, {"image": stated(Tlv(TlvType.UUID_CID, OTHER))}),
        ("image-vendor", "2.3.0", 2, {"image": stated(Tlv(TlvType.UUID_VID, OTHER))}),
        ("version-increases", "2.2.0", 2, {}),
        ("version-increases", "2.2.1", 2, {}),
        ("security-version-holds", "2.3.0", 1, {}),
        ("security-version-step", "2.3.0", 7, {}),
        ("transition", "2.3.0", 2, {"channel": "transition"}),
    ],
)
def test_a_rule_refuses_and_says_so(
    released_world: World, rule: str, version: str, security_version: int, changes: Mapping[str, Any]
) -> None:
    refused = asyncio.run(refuse_release(released_world, version, security_version, id="release-next", **changes))
    assert refused.code == "release-refused"
    assert refused.details["rule"] == rule
    assert refused.details["found"] and refused.details["expected"]
    assert count_rules(read_leaves(released_world), f"release-refused: {rule}:") == 1


@pytest.mark.parametrize("changes", [{"class_name": "pcs-lpc55"}, {"channel": "beta"}])
def test_a_class_or_channel_that_the_policy_does_not_name_is_refused(
    genesis_world: World, changes: Mapping[str, Any]
) -> None:
    refused = asyncio.run(refuse_release(genesis_world, "2.3.0", 2, **changes))
    assert refused.code == "policy-refuses"
    assert next(iter(changes.values())) in refused.details["found"]
    assert refused.details["expected"] == "one of bms-stm32h7/stable, bms-stm32h7/transition"
    assert count_rules(read_leaves(genesis_world), "policy-refuses:") == 1


@pytest.mark.req("FS-3", "FS-5")
@pytest.mark.parametrize(
    ("rule", "changes"),
    [
        ("provenance", {"requires": ("provenance",)}),
        ("sbom", {"requires": ("provenance", "sbom")}),
        ("slot-size", {"slot_bytes": 600}),
        ("release-window", {"window": ReleaseWindow(0, 10, 5)}),
        ("release-window", {"window": ReleaseWindow(0, 1 << 40, 0)}),
        ("min-validity", {"min_validity_days": 366}),
        ("security-version-holds", {"floor": 3}),
        ("counter-capacity", {"floor": 1 << 20, "max_step": 1 << 30}),
    ],
)
def test_a_rule_of_the_policy_refuses(genesis_world: World, rule: str, changes: Mapping[str, Any]) -> None:
    change_rules(genesis_world, **changes)
    provenance = "a" * 64 if rule == "sbom" else None
    security = 1 << 20 if rule == "counter-capacity" else 2
    refused = asyncio.run(refuse_release(genesis_world, "2.3.0", security, provenance=provenance))
    assert (refused.code, refused.details["rule"]) == ("release-refused", rule)
    assert refused.details["found"] and refused.details["expected"]
    assert count_rules(read_leaves(genesis_world), f"release-refused: {rule}:") == 1


def test_what_the_rules_demand_is_enough(genesis_world: World) -> None:
    window = ReleaseWindow(0, 1 << 40, 1)
    size = len(make_image("2.3.0")) + 300
    change_rules(genesis_world, requires=("provenance", "sbom"), slot_bytes=size, window=window, min_validity_days=364)
    signed = asyncio.run(sign_release(genesis_world, "2.3.0", 5, provenance="a" * 64, sbom="b" * 64))
    assert len(signed.image) <= size


@pytest.mark.req("FS-3")
def test_the_signatures_of_a_window_are_counted_per_window(genesis_world: World) -> None:
    async def play() -> Problem:
        await sign_release(genesis_world, "2.2.0", 2)
        change_rules(genesis_world, window=ReleaseWindow(0, 1 << 40, 2))
        await sign_release(genesis_world, "2.3.0", 2)
        command = await ask_release(genesis_world, "2.4.0", 2)
        await genesis_world.try_ask(command, "pipeline")
        await genesis_world.try_ask(command, "pipeline")  # the answer once more spends nothing
        return await refuse_release(genesis_world, "2.5.0", 2)

    assert asyncio.run(play()).details == {"rule": "release-window", "found": "all signatures used", "expected": "2"}
    change_rules(genesis_world, window=ReleaseWindow(1, 1 << 40, 1))
    asyncio.run(sign_release(genesis_world, "2.5.0", 2, id="release-again"))


@pytest.mark.req("FS-1", "T1")
@pytest.mark.parametrize("claims", [{"repository_id": "4712"}, {"environment": "test"}, {"repository_id": 4711}])
def test_a_token_of_another_workload_is_refused(genesis_world: World, claims: dict[str, Any]) -> None:
    async def play() -> Problem:
        command = await ask_release(genesis_world, "2.3.0", 2)
        token = genesis_world.token("pipeline", **{**REPOSITORY, **claims})
        return problem(await genesis_world.try_ask(command, token=token))

    refused = asyncio.run(play())
    assert refused.details["rule"] == "workload"
    assert str(next(iter(claims.values()))) in refused.details["found"]
    assert count_rules(read_leaves(genesis_world), "release-refused: workload") == 1


def test_what_is_no_unsigned_image_is_refused_and_recorded(released_world: World) -> None:
    async def play() -> list[Problem]:
        signed = await sign_release(released_world, "2.3.0", 2)
        return [
            await refuse_release(released_world, "2.3.0", 2, id="release-again", image=signed.image),
            await refuse_release(released_world, "2.4.0", 2, image=b"no image, but long enough to have a header"),
        ]

    codes = [refused.code for refused in asyncio.run(play())]
    assert codes == ["image-already-signed", "image-malformed"]
    leaves = read_leaves(released_world)
    assert [count_rules(leaves, f"{code}:") for code in codes] == [1, 1]


def test_one_of_several_workloads_is_enough(genesis_world: World) -> None:
    change_rules(genesis_world, claims=({"repository_id": "1"}, dict(REPOSITORY), {"repository_id": "2"}))
    assert asyncio.run(sign_release(genesis_world, "2.3.0", 2)).version == "2.3.0"


def test_an_artefact_that_was_not_uploaded_is_refused_and_recorded(genesis_world: World) -> None:
    async def play() -> Problem:
        command = await ask_release(genesis_world, "2.3.0", 2)
        missing = msgspec.structs.replace(command, artefact="0" * 64)
        return problem(await genesis_world.try_ask(missing, "pipeline"))

    assert asyncio.run(play()).code == "artefact-missing"
    assert count_rules(read_leaves(genesis_world), "artefact-missing:") == 1


def test_versions_go_up_per_channel_and_are_used_once_for_all(genesis_world: World) -> None:
    governing = genesis_world.room.door.require_governing()
    stable = governing.policy.releases[0]
    both = (stable, msgspec.structs.replace(stable, channel="beta"))
    policy = msgspec.structs.replace(governing.policy, releases=both)
    genesis_world.room.door.governing = msgspec.structs.replace(governing, policy=policy)

    async def play() -> Problem:
        await sign_release(genesis_world, "3.0.0", 2, channel="beta")
        await sign_release(genesis_world, "2.9.0", 2)
        return await refuse_release(genesis_world, "3.0.0", 2, id="release-stable", image=make_image("3.0.0", b"other"))

    assert asyncio.run(play()).code == "version-taken"


def test_versions_compare_as_numbers() -> None:
    assert read_version("2.10.0") > read_version("2.9.9")


def test_a_spent_number_is_passed_over(genesis_world: World) -> None:
    room = genesis_world.room
    rows = [Insert(ReservationRow, {"name": f"sequence:x:2:{n}", "owner": "", "seq": 0}) for n in (1, 2, 4)]
    draft = {"type": "probe"}
    room.writer.run_now(lambda: room.ledger.record([draft], rows))
    assert [find_free(room.store, "sequence:x:2:", start) for start in (1, 3, 4)] == [3, 3, 5]
