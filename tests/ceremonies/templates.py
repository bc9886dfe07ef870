"""Worlds brought to a point of their story once per session and kind of keys, and copied from there."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final, Literal

import pytest

from tests.ceremonies.rotated import Fleet, make_fleet
from tests.world import World, copy_world, hsm_world, soft_world

Keys = Literal["soft", "softhsm"]

on_both_keys: Final = pytest.mark.parametrize("keys", ["soft", "softhsm"], indirect=True)
"""The test runs on soft keys and on SoftHSM. What is not marked runs on soft keys."""


class Templates:
    """Stopped worlds. Copy them; never start them. `make_path` makes a fresh directory of a name."""

    def __init__(self, make_path: Callable[[str], Path]) -> None:
        self._make_path = make_path
        self._worlds: dict[tuple[str, Keys], World] = {}
        self._fleets: dict[tuple[str, int, Keys], Fleet] = {}

    def genesis(self, keys: Keys = "soft") -> World:
        """After genesis."""
        if ("genesis", keys) not in self._worlds:
            world = new_world(self._make_path("genesis"), keys).start()
            asyncio.run(world.genesis())
            world.stop()
            self._worlds["genesis", keys] = world
        return self._worlds["genesis", keys]

    def factory(self, keys: Keys = "soft") -> World:
        """After genesis, with the work order `wo-1` of 20, serials BMS-000001 to BMS-000025."""
        if ("factory", keys) not in self._worlds:
            world = copy_world(self.genesis(keys), self._make_path("factory") / "world").start()
            asyncio.run(world.open_order())
            world.stop()
            self._worlds["factory", keys] = world
        return self._worlds["factory", keys]

    def fleet(self, play: Callable[[Fleet], Coroutine[Any, Any, None]], count: int, keys: Keys = "soft") -> Fleet:
        """A fleet of `count` controllers that run 2.3.0, after `play`."""
        name = (play.__name__, count, keys)
        if name not in self._fleets:
            self._fleets[name] = make_fleet(self.factory(keys), self._make_path(play.__name__) / "world", play, count)
        return self._fleets[name]


def new_world(path: Path, keys: Keys) -> World:
    """A world where nothing happened yet."""
    return soft_world(path) if keys == "soft" else hsm_world(path)
