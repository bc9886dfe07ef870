"""Worlds after genesis: held once per session with soft keys, then copied, keys and all, for each test."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.world import World, copy_world, soft_world


@pytest.fixture(scope="session")
def genesis_template(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A stopped world after genesis. Copy it; never start it."""
    world = soft_world(tmp_path_factory.mktemp("genesis")).start()
    asyncio.run(world.genesis())
    world.stop()
    return world


@pytest.fixture(scope="session")
def factory_template(genesis_template: World, tmp_path_factory: pytest.TempPathFactory) -> World:
    """A stopped world after genesis with the work order `wo-1` of 20, serials BMS-000001 to BMS-000025."""
    world = copy_world(genesis_template, tmp_path_factory.mktemp("factory")).start()
    asyncio.run(world.open_order())
    world.stop()
    return world


@pytest.fixture
def genesis_world(genesis_template: World, tmp_path: Path) -> Iterator[World]:
    """A started world after genesis, on a private copy."""
    world = copy_world(genesis_template, tmp_path / "world").start()
    yield world
    world.stop()


@pytest.fixture
def factory_world(factory_template: World, tmp_path: Path) -> Iterator[World]:
    """A started world with the open work order `wo-1`, on a private copy."""
    world = copy_world(factory_template, tmp_path / "world").start()
    yield world
    world.stop()
