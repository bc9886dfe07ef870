"""Every command has one who answers it."""

from ceremonies.factory import factory_handlers
from ceremonies.handlers import ceremony_handlers, handlers, reading_handlers, release_handlers
from tests.ceremonies.examples import COMMANDS
from tests.world import World


def test_every_command_is_answered_by_somebody(genesis_world: World) -> None:
    assert set(handlers(genesis_world.room)) == set(COMMANDS)


def test_no_command_is_answered_twice(genesis_world: World) -> None:
    groups = [
        group(genesis_world.room) for group in (factory_handlers, release_handlers, ceremony_handlers, reading_handlers)
    ]
    assert sum(map(len, groups)) == len(set().union(*groups))
