"""Worlds brought to a point of their story once per session and kind of keys, and copied from there."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final, Literal

import pytest

from tests.ceremonies.rotated import Fleet, make_fleet
from tests.engines import SQLITE_ONLY, Engine
from tests.world import World, copy_world, hsm_world, soft_world

Keys = Literal["soft", "softhsm"]

on_both_keys: Final = pytest.mark.parametrize("keys", ["soft", "softhsm"], indirect=True)
"""The test runs on soft keys and on SoftHSM. What is not marked runs on soft keys."""


Make = Callable[[Path], World]
Prepare = Callable[[World], Coroutine[Any, Any, object]]


class Templates:
    """Stopped worlds by engine and kind of keys. Copy them; never start them.

    `make_path` makes a fresh directory of a name.
    """

    def __init__(self, make_path: Callable[[str], Path]) -> None:
        self._make_path = make_path
        self._worlds: dict[tuple[str, str, Keys], World] = {}
        self._fleets: dict[tuple[str, int, str, Keys], Fleet] = {}

    def genesis(self, engine: Engine = SQLITE_ONLY, keys: Keys = "soft") -> World:
        """After genesis."""
        return self.find("genesis", engine, lambda path: new_world(path, engine, keys), World.genesis, keys)

    def factory(self, engine: Engine = SQLITE_ONLY, keys: Keys = "soft") -> World:
        """After genesis, with the work order `wo-1` of 20, serials BMS-000001 to BMS-000025."""

        def make(path: Path) -> World:
            return copy_world(self.genesis(engine, keys), path / "world")

        return self.find("factory", engine, make, World.open_order, keys)

    def fleet(
        self,
        play: Callable[[Fleet], Coroutine[Any, Any, None]],
        count: int,
        engine: Engine = SQLITE_ONLY,
        keys: Keys = "soft",
    ) -> Fleet:
        """A fleet of `count` controllers that run 2.3.0, after `play`."""
        name = (play.__name__, count, engine.name, keys)
        if name not in self._fleets:
            path = self._make_path(play.__name__) / "world"
            self._fleets[name] = make_fleet(self.factory(engine, keys), path, play, count)
        return self._fleets[name]

    def find(self, name: str, engine: Engine, make: Make, prepare: Prepare, keys: Keys = "soft") -> World:
        """A world of another kind, prepared when it is first asked for."""
        wanted = (name, engine.name, keys)
        if wanted not in self._worlds:
            world = make(self._make_path(f"{name}-{engine.name}")).start()
            asyncio.run(prepare(world))
            world.stop()
            self._worlds[wanted] = world
        return self._worlds[wanted]


def new_world(path: Path, engine: Engine, keys: Keys) -> World:
    """A world where nothing happened yet."""
    make = soft_world if keys == "soft" else hsm_world
    return make(path, engine.database())
