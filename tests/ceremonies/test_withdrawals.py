"""How certificates that are taken back are named."""

import asyncio

import pytest

from ceremonies.journal import JournalForked
from ceremonies.withdrawals import Withdrawn, read_authorities, read_withdrawn
from tests.ceremonies.lines import make_units
from tests.ceremonies.test_rework import number_of
from tests.world import World


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
