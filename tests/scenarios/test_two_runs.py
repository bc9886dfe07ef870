"""Two services that held genesis by the same plan have nothing in common: no key, no name of one, no signature."""

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.ceremonies.examples import read_leaves
from tests.world import World, hsm_world, issue_device, make_request, plan_keys, token_keys

DEVICES = 2
CERTIFICATES = 4 + DEVICES


class Run(msgspec.Struct, frozen=True):
    """What the journal of one run names, and the SPKI digests of the keys in its tokens."""

    journal: dict[str, list[str]]
    spki_by_label: dict[str, str]
    in_tokens: list[str]


def hold_run(path: Path) -> Run:
    """Genesis, a work order and its first devices on fresh SoftHSM tokens."""
    world = hsm_world(path).start()

    async def play() -> None:
        await world.genesis()
        await world.open_order()
        for number in range(1, DEVICES + 1):
            await issue_device(world, number, make_request())

    asyncio.run(play())
    run = read_run(world)
    world.stop()
    return run


def read_run(world: World) -> Run:
    """The facts of a started world."""
    outcomes = [leaf for leaf in read_leaves(world) if leaf.get("out", {}).get("status") == "ok"]
    made = [leaf for leaf in outcomes if leaf["type"] == "key.generate.outcome"]
    sealed = [leaf for leaf in outcomes if leaf["type"] == "key.sign.outcome"]
    keys = [leaf["keys"][0] for leaf in made]
    journal = {
        "SPKI": [key["spki"] for key in keys],
        "CKA_ID": [key["id"] for key in keys],
        "thumbprint": list_facts(made, "thumbprint"),
        "challenge of a new key": list_facts(made, "challenge"),
        "certificate number": list_facts(sealed, "certificate_number"),
        "signature": [signature for leaf in outcomes for signature in leaf["out"].get("sigs", ())],
        "document": [leaf["out"]["doc"] for leaf in sealed],
        "token": sorted({key["token"] for key in keys}),
    }
    in_tokens = [hashlib.sha256(public).hexdigest() for public in token_keys(world).values()]
    return Run(journal, {key["label"]: key["spki"] for key in keys}, in_tokens)


def list_facts(leaves: list[dict[str, Any]], name: str) -> list[str]:
    """A fact of each operation that states it. Nothing is stated that would tell a recovery key."""
    return [leaf["op"]["what"][name] for leaf in leaves if name in leaf["op"]["what"]]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    """Two runs, one after the other: a process has one SoftHSM at a time."""
    return hold_run(tmp_path_factory.mktemp("first")), hold_run(tmp_path_factory.mktemp("second"))


@pytest.mark.req("CA-3")
def test_two_runs_share_nothing(runs: tuple[Run, Run]) -> None:
    first, second = runs
    shared = {name: set(first.journal[name]) & set(second.journal[name]) for name in first.journal}
    assert shared == {name: set() for name in first.journal}
    assert not set(first.in_tokens) & set(second.in_tokens)


def test_nothing_repeats_within_a_run(runs: tuple[Run, Run]) -> None:
    for run in runs:
        assert [name for name, facts in run.journal.items() if len(set(facts)) != len(facts)] == []


def test_each_label_has_a_key_of_its_own_in_the_tokens(runs: tuple[Run, Run]) -> None:
    labels = {key["label"] for key in plan_keys()}
    for run in runs:
        assert run.spki_by_label.keys() == labels
        assert len(set(run.spki_by_label.values())) == len(labels)
        assert sorted(run.in_tokens) == sorted(run.spki_by_label.values())
        counts = {name: len(facts) for name, facts in run.journal.items()}
        assert (counts["certificate number"], counts["token"]) == (CERTIFICATES, 3)
        assert counts["signature"] > len(labels) + CERTIFICATES  # the proofs of possession, certificates, the set's
