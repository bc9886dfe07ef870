"""How certificates that are taken back are named."""

import asyncio

import pytest

from ceremonies.journal import JournalForked
from ceremonies.withdrawals import Withdrawn, read_authorities, read_withdrawn
from tests.ceremonies.lines import make_units
from tests.ceremonies.test_rework import number_of
from tests.engines import tamper
from tests.world import World


def test_a_certificate_names_its_ca_and_its_number(factory_world: World) -> None:
    (unit,) = asyncio.run(make_units(factory_world, range(1, 2)))
    (found,) = read_withdrawn(factory_world.room, [(unit.serial, unit.held.certificate)])
    ca = factory_world.room.door.keyring.labelled("device-ca").spki
    assert found == Withdrawn(unit.serial, ca, number_of(unit.held))
    assert ca in read_authorities(factory_world.room).values()


@pytest.mark.req("T5", "CA-13")
def test_rows_do_not_say_which_key_a_ca_has(factory_world: World) -> None:
    """Else a certificate would be revoked as one of another CA, and go on."""
    room = factory_world.room
    (unit,) = asyncio.run(make_units(factory_world, range(1, 2)))
    ours, other = (room.door.keyring.labelled(label).spki for label in ("device-ca", "site-ca"))
    tamper(room.store, f"UPDATE certificate SET spki = '{other}' WHERE label = 'device-ca'")
    (found,) = read_withdrawn(room, [(unit.serial, unit.held.certificate)])
    assert found == Withdrawn(unit.serial, ours, number_of(unit.held))


def test_a_certificate_of_another_ca_is_none_of_ours(factory_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    room = factory_world.room
    (unit,) = asyncio.run(make_units(factory_world, range(1, 2)))
    monkeypatch.delitem(room.ledger.replay.generations.known, room.door.keyring.labelled("device-ca").spki)
    with pytest.raises(JournalForked, match="no CA here"):
        read_withdrawn(room, [(unit.serial, unit.held.certificate)])
