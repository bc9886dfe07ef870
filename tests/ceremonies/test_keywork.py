"""Keys come, change state and go, and each step is an entry."""

import asyncio
from functools import partial
from typing import Any

import msgspec
import pytest

from ceremonies.commands import Problem, SuspendKey
from ceremonies.errors import QuorumNotMet
from ceremonies.keyring import KeyPurposeRefused, KeyTransitionRefused, KeyUnknown
from ceremonies.keywork import (
    JournalKeyNeeded,
    LabelTaken,
    adopt_log_key,
    change_states,
    create_key,
    destroy_key,
    public_key_pem,
)
from ceremonies.orders import KeyPlan, StepRef
from ceremonies.quorums import CeremonyOver, CeremonyUnknown, Mandate, NotListed
from ceremonies.tables import DocumentRow, EntryRow, KeyRow
from hsm.errors import CallFailed
from tests.ceremonies.small import BY, act
from tests.ceremonies.templates import on_both_keys
from tests.softbox import Softbox
from tests.world import World, audit_world, plan_set, soft_keys, token_keys

STEP = StepRef("rotate", "plan")
ROOT = KeyPlan("oem-root-4", "oem-root", "p256", "kedge-main")


def leaves(world: World, start: int) -> list[dict[str, Any]]:
    """Entries from an index on."""
    return [msgspec.json.decode(row["leaf"]) for row in world.room.store.list(EntryRow, "seq") if row["seq"] >= start]


@pytest.fixture
def rotating_world(genesis_world: World) -> World:
    """A world with an approved plan `rotate` that makes oem-root-4, and one `drop` that destroys site-ca."""

    async def open_both() -> None:
        plan = {"keys": [ROOT.fields], "trust_set": plan_set((2, 3, 4)), "signers": ["oem-root-1", "oem-root-2"]}
        await genesis_world.propose("rotate", "trust-set", plan)
        await genesis_world.propose("drop", "destroy", {"labels": ["site-ca"], "reason": "never used"})
        for name in ("rotate", "drop"):
            await genesis_world.approve(name, "plan", "bob", "carol")

    asyncio.run(open_both())
    return genesis_world


@pytest.mark.req("KL-2", "HS-1")
@on_both_keys
def test_a_new_key_has_proven_possession_and_signs_nothing(rotating_world: World) -> None:
    world, start = rotating_world, rotating_world.room.ledger.journal.size
    entry = act(world, lambda: create_key(world.room.door, ROOT, BY, STEP))
    intent, outcome = leaves(world, start)
    assert (intent["type"], outcome["type"]) == ("key.generate.intent", "key.generate.outcome")
    assert intent["keys"][0]["id"] == outcome["keys"][0]["id"] == entry.cka_id
    assert [item["officer"] for item in intent["apr"]] == ["bob", "carol"]
    assert (entry.state, entry.uses, len(outcome["out"]["sigs"])) == ("pre-activation", 0, 1)
    assert world.room.store.find(KeyRow, spki=entry.spki, label="oem-root-4") is not None
    document = world.room.store.find(DocumentRow, kind="public-key", name="oem-root-4") or {}
    assert world.room.store.blob(document["sha256"]) == public_key_pem(world.room.store.blob(entry.spki) or b"")
    asyncio.run(audit_world(world))


def test_a_key_of_no_plan_is_denied_and_no_token_is_asked(rotating_world: World) -> None:
    world, box = rotating_world, soft_keys(rotating_world)
    start, keys, signed = world.room.ledger.journal.size, dict(box.keys), box.signed
    wrong: list[tuple[KeyPlan, StepRef, type[Exception]]] = [
        (msgspec.structs.replace(ROOT, label="other"), STEP, NotListed),
        (msgspec.structs.replace(ROOT, role="counter"), STEP, NotListed),
        (msgspec.structs.replace(ROOT, algorithm="ed25519"), STEP, KeyPurposeRefused),
        (msgspec.structs.replace(ROOT, role="nobody"), STEP, KeyPurposeRefused),
        (ROOT, StepRef("none", "plan"), CeremonyUnknown),
        (ROOT, StepRef("genesis", "plan"), CeremonyOver),
    ]
    for plan, step, error in wrong:
        with pytest.raises(error):
            act(world, partial(create_key, world.room.door, plan, BY, step))
    assert (box.keys, box.signed) == (keys, signed)
    assert [leaf["type"] for leaf in leaves(world, start)] == ["key.generate.denied"] * len(wrong)


def test_a_label_is_taken_for_ever(rotating_world: World) -> None:
    world = rotating_world
    act(world, lambda: create_key(world.room.door, ROOT, BY, STEP))
    with pytest.raises(LabelTaken):
        act(world, lambda: create_key(world.room.door, ROOT, BY, STEP))


@pytest.mark.req("AU-1")
@pytest.mark.parametrize("operation", ["generate", "destroy"])
def test_a_fault_of_the_token_is_an_outcome(
    rotating_world: World, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    world, start = rotating_world, rotating_world.room.ledger.journal.size

    def fail(*_: object) -> None:
        raise CallFailed("token kedge-main: CKR_DEVICE_ERROR", rv="CKR_DEVICE_ERROR")

    with monkeypatch.context() as patched:
        patched.setattr(Softbox, operation, fail)
        with pytest.raises(CallFailed):
            if operation == "generate":
                act(world, lambda: create_key(world.room.door, ROOT, BY, STEP))
            else:
                act(world, lambda: destroy_key(world.room.door, "site-ca", BY, StepRef("drop", "plan")))
    outcome = leaves(world, start)[-1]
    assert (outcome["out"]["status"], outcome["out"]["rv"]) == ("fail", "CKR_DEVICE_ERROR")
    assert world.room.ledger.settled
    assert world.room.door.keyring.labelled("site-ca").state == "active"
    asyncio.run(audit_world(world))


@pytest.mark.req("KL-3", "KL-10", "KL-11")
@on_both_keys
def test_a_destroyed_key_leaves_its_public_half(rotating_world: World) -> None:
    world, door = rotating_world, rotating_world.room.door
    key = door.keyring.labelled("site-ca")
    with pytest.raises(KeyUnknown):
        act(world, lambda: destroy_key(door, "nobody", BY, StepRef("drop", "plan")))
    with pytest.raises(NotListed):
        act(world, lambda: destroy_key(door, "director", BY, StepRef("drop", "plan")))
    act(world, lambda: destroy_key(door, "site-ca", BY, StepRef("drop", "plan")))
    assert (key.token, bytes.fromhex(key.cka_id)) not in token_keys(world)
    assert world.room.store.blob(key.spki) is not None
    with pytest.raises(KeyTransitionRefused):
        act(world, lambda: destroy_key(door, "site-ca", BY, StepRef("drop", "plan")))
    asyncio.run(audit_world(world))


@pytest.mark.req("KL-11", "T5")
def test_without_a_quorum_nothing_is_destroyed(genesis_world: World) -> None:
    world, start = genesis_world, genesis_world.room.ledger.journal.size
    asyncio.run(world.propose("drop", "destroy", {"labels": ["site-ca"], "reason": "r"}))
    asyncio.run(world.approve("drop", "plan", "bob"))
    with pytest.raises(QuorumNotMet):
        act(world, lambda: destroy_key(world.room.door, "site-ca", BY, StepRef("drop", "plan")))
    assert leaves(world, start)[-1]["type"] == "key.destroy.denied"
    assert world.room.door.keyring.labelled("site-ca").state == "active"


@pytest.mark.req("KL-1", "KL-5", "KL-9")
@on_both_keys
def test_a_single_officer_suspends_and_a_quorum_resumes(genesis_world: World) -> None:
    world, door = genesis_world, genesis_world.room.door
    start = world.room.ledger.journal.size
    act(world, lambda: change_states(door, ["director", "counter-1"], "suspended", BY, why="theft"))
    for state in ("active", "compromised", "destroyed"):
        with pytest.raises(CeremonyUnknown):
            act(world, partial(change_states, door, ["director"], state, BY))
    with pytest.raises(KeyTransitionRefused):
        act(world, lambda: change_states(door, ["director"], "suspended", BY))
    with pytest.raises(KeyUnknown):
        act(world, lambda: change_states(door, ["director", "nobody"], "suspended", BY))
    found = leaves(world, start)
    assert [leaf.get("out", {}).get("status", "done") for leaf in found] == ["done"] * 2 + ["denied"] * 5
    assert found[0]["op"]["what"] == {"from": "active", "reason": "theft", "to": "suspended"}
    asyncio.run(world.ceremony("back", "resume", {"labels": ["director"], "reason": "found"}))
    assert [door.keyring.labelled(label).state for label in ("director", "counter-1")] == ["active", "suspended"]
    assert (world.room.store.find(KeyRow, label="director") or {})["state"] == "active"


def test_the_log_key_is_adopted_once(genesis_world: World) -> None:
    ledger = genesis_world.room.ledger
    key = ledger.log_key
    act(genesis_world, lambda: adopt_log_key(genesis_world.room.door))
    assert ledger.log_key is key is not None
    with ledger.store.write() as connection:
        connection.exec_driver_sql("DELETE FROM blob WHERE sha256 = (SELECT spki FROM key WHERE label = 'journal')")
    ledger.log_key = None
    with pytest.raises(KeyUnknown, match="journal"):
        act(genesis_world, lambda: adopt_log_key(genesis_world.room.door))


@pytest.mark.req("AU-2", "KL-9")
def test_the_journal_key_is_neither_suspended_nor_destroyed(genesis_world: World) -> None:
    """Without it nothing could be proven: one officer, or a quorum, would switch the journal off."""
    world, door = genesis_world, genesis_world.room.door
    start = world.room.ledger.journal.size
    for state in ("suspended", "deactivated", "compromised", "destroyed"):
        with pytest.raises(JournalKeyNeeded):
            act(world, partial(change_states, door, ["director", "journal"], state, BY, why="theft"))
    answer = asyncio.run(world.try_ask(SuspendKey("journal", "theft"), "officer"))
    assert isinstance(answer, Problem)
    assert answer.code == "journal-key-needed"
    assert [door.keyring.labelled(label).state for label in ("journal", "director")] == ["active", "active"]
    assert [leaf["out"]["status"] for leaf in leaves(world, start)] == ["denied"] * 5


def test_a_destruction_of_the_journal_key_is_denied_before_the_token_is_asked(genesis_world: World) -> None:
    world, door = genesis_world, genesis_world.room.door
    key = door.keyring.labelled("journal")
    mandate = Mandate("drop", "destroy", "", {"destroy": [{"label": "journal", "spki": key.spki}]}, ())
    start = world.room.ledger.journal.size
    with pytest.MonkeyPatch.context() as patched, pytest.raises(JournalKeyNeeded):
        patched.setattr(door, "mandate", lambda *_: mandate)
        act(world, lambda: destroy_key(door, "journal", BY, StepRef("drop", "plan")))
    assert leaves(world, start)[-1]["type"] == "key.destroy.denied"
    assert (key.token, bytes.fromhex(key.cka_id)) in soft_keys(world).keys
