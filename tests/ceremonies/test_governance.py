"""Roster and policy come from the journal; no row and no file beside it changes them."""

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ceremonies import commands
from ceremonies.commands import CeremonyShown
from ceremonies.errors import KeyroomError
from ceremonies.governance import load_governing
from ceremonies.journal import JournalForked
from ceremonies.officers import Officer, Roster
from ceremonies.settings import SettingsInvalid
from ceremonies.tables import GoverningRow
from pki.jcs import jcs
from tests.ceremonies.examples import write_sql
from tests.world import World, copy_world, soft_world


def load(world: World) -> Any:
    return load_governing(world.room.store, world.room.ledger.journal, world.room.settings)


def test_an_empty_journal_has_no_officers(tmp_path: Path) -> None:
    world = soft_world(tmp_path).start()
    assert load(world) is None
    world.stop()


@pytest.mark.req("T6")
def test_what_is_in_force_comes_from_the_journal(genesis_world: World) -> None:
    governing = load(genesis_world)
    assert (governing.roster, governing.policy, governing.genesis) == (
        genesis_world.roster,
        genesis_world.policy,
        None,
    )


@pytest.mark.req("T6")
def test_another_roster_in_the_settings_does_not_start(genesis_template: World, tmp_path: Path) -> None:
    world = copy_world(genesis_template, tmp_path / "world")
    for digest in ("0" * 64, ""):
        with pytest.raises(SettingsInvalid, match="the settings say"):
            world.start(msgspec.structs.replace(world.settings(), roster_sha256=digest))
    world.start().stop()


@pytest.mark.req("T5", "T6")
def test_one_row_alone_is_not_what_the_journal_says(genesis_world: World) -> None:
    write_sql(genesis_world, "DELETE FROM governing WHERE name = 'policy.change'")
    with pytest.raises(JournalForked, match="roster and policy"):
        load(genesis_world)


def forge_policy(world: World, document: bytes) -> str:
    """A blob that nobody approved."""
    digest = hashlib.sha256(document).hexdigest()
    write_sql(world, "INSERT INTO blob (sha256, seq, data) VALUES (:d, 0, :data)", d=digest, data=document)
    return digest


@pytest.mark.req("T5", "T6")
def test_a_forged_policy_is_found_at_the_start(genesis_world: World) -> None:
    """Every place where the policy stands in the database, each changed alone."""
    rows = {row["name"]: row["seq"] for row in genesis_world.room.store.list(GoverningRow, "name")}
    document = genesis_world.policy.document.replace(b'"m":2', b'"m":3', 1)
    assert document != genesis_world.policy.document
    forge_policy(genesis_world, document)
    assert load(genesis_world).policy == genesis_world.policy
    write_sql(genesis_world, "UPDATE governing SET seq = :seq WHERE name = 'policy.change'", seq=rows["roster.change"])
    with pytest.raises(JournalForked, match=r"is no policy\.change"):
        load(genesis_world)
    write_sql(genesis_world, "UPDATE governing SET seq = :seq WHERE name = 'policy.change'", seq=rows["policy.change"])
    old, new = genesis_world.policy.digest, hashlib.sha256(document).hexdigest()
    changed = "CAST(replace(CAST(leaf AS TEXT), :old, :new) AS BLOB)"
    write_sql(genesis_world, f"UPDATE entry SET leaf = {changed} WHERE type = 'policy.change'", old=old, new=new)
    with pytest.raises(JournalForked, match="not the one that was written"):
        load(genesis_world)
    write_sql(genesis_world, f"UPDATE entry SET leaf = {changed} WHERE type = 'policy.change'", old=new, new=old)
    write_sql(genesis_world, "UPDATE blob SET data = :data WHERE sha256 = :old", data=document, old=old)
    with pytest.raises(KeyroomError, match="altered"):
        load(genesis_world)
    write_sql(genesis_world, "DELETE FROM blob WHERE sha256 = :old", old=old)
    with pytest.raises(JournalForked, match="document of entry"):
        load(genesis_world)


@pytest.mark.req("T5", "T6")
def test_a_plan_changed_in_its_row_governs_no_genesis(tmp_path: Path) -> None:
    """While genesis is under way its plan decides, as the journal holds it."""
    world = soft_world(tmp_path).start()
    plan = world.genesis_plan()
    asyncio.run(world.ask(commands.OpenGenesis("genesis", json.dumps(plan).encode()), "local", CeremonyShown))
    plan["policy"]["quorums"]["work-order"]["m"] = 3
    write_sql(world, "UPDATE ceremony SET plan = :plan", plan=jcs(plan))
    world.stop()
    world.start()
    governing = world.room.door.require_governing()
    assert (governing.policy.digest, governing.genesis) == (world.policy.digest, "genesis")
    asyncio.run(world.carry_out("genesis", "alice", "bob", "carol", role="local"))
    assert world.room.door.require_governing().policy.quorums["work-order"].m == 2
    world.stop()


@pytest.mark.req("T6")
def test_genesis_under_way_starts_with_its_own_roster_only(tmp_path: Path) -> None:
    world = soft_world(tmp_path).start()
    plan = json.dumps(world.genesis_plan()).encode()
    asyncio.run(world.ask(commands.OpenGenesis("genesis", plan), "local", CeremonyShown))
    world.stop()
    mallory = Officer("mallory", "mallory", (world.officers["bob"].line,), ("officer",))
    other = Roster((mallory,))
    with pytest.raises(SettingsInvalid):
        world.start(msgspec.structs.replace(world.settings(), roster_sha256=other.digest))
    world.start().stop()
