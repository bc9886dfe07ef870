"""What is written of certificates that are taken back."""

import asyncio

import pytest

from ceremonies.journal import JournalForked
from ceremonies.withdrawals import AT_ONCE, Withdrawn, read_authorities, read_withdrawn, withdraw
from tests.ceremonies.lines import make_units
from tests.ceremonies.small import BY
from tests.ceremonies.test_rework import number_of
from tests.world import World


def test_a_single_certificate_is_named_with_its_serial() -> None:
    (draft,) = withdraw([Withdrawn("S1", "ca", "00ff")], "superseded", BY, why="rework").drafts
    assert draft["type"] == "certificate.revoke"
    assert draft["op"]["what"] == {
        "ca": "ca", "number": "00ff", "reason": "superseded", "serial": "S1", "why": "rework",
    }  # fmt: skip


def test_many_are_numbers_by_their_ca_in_entries_of_bounded_size() -> None:
    ours = [Withdrawn(f"S{at}", "ca-1", f"{at:040x}") for at in range(AT_ONCE + 1)]
    other = Withdrawn("X", "ca-2", "f" * 40)
    whats = [draft["op"]["what"] for draft in withdraw([*ours, other], "cessationOfOperation", BY).drafts]
    assert [(what["ca"], len(what["numbers"])) for what in whats] == [("ca-1", AT_ONCE), ("ca-1", 1), ("ca-2", 1)]
    assert [number for what in whats for number in what["numbers"]] == [item.number for item in (*ours, other)]


def test_nothing_is_nothing() -> None:
    assert withdraw([], "superseded", BY).drafts == ()


def test_a_certificate_names_its_ca_and_its_number(factory_world: World) -> None:
    (unit,) = asyncio.run(make_units(factory_world, range(1, 2)))
    (found,) = read_withdrawn(factory_world.room, [(unit.serial, unit.held.certificate)])
    ca = factory_world.room.door.keyring.labelled("device-ca").spki
    assert found == Withdrawn(unit.serial, ca, number_of(unit.held))
    assert ca in read_authorities(factory_world.room).values()


def test_a_certificate_of_another_ca_is_none_of_ours(factory_world: World) -> None:
    (unit,) = asyncio.run(make_units(factory_world, range(1, 2)))
    with factory_world.room.store.write() as connection:
        connection.exec_driver_sql("DELETE FROM certificate WHERE label = 'device-ca'")
    with pytest.raises(JournalForked, match="no CA here"):
        read_withdrawn(factory_world.room, [(unit.serial, unit.held.certificate)])
