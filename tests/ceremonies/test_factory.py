"""Each command of the factory has one handler."""

from ceremonies.commands import boards, elements, factory, stations, units
from ceremonies.commands.command import Command
from ceremonies.factory import factory_handlers
from tests.world import World


def test_every_command_of_stations_and_plants_has_its_handler(factory_world: World) -> None:
    declared = {
        item
        for module in (boards, elements, factory, stations, units)
        for item in vars(module).values()
        if isinstance(item, type) and issubclass(item, Command) and item is not Command
    }
    assert set(factory_handlers(factory_world.room)) == declared
