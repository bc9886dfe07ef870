"""Worlds after genesis: held once per session with soft keys, then copied, keys and all, for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines import SQLITE_ONLY, Engine, Templates
from tests.world import World, copy_world


@pytest.fixture
def url(engine: Engine, tmp_path: Path) -> str:
    """The URL of an empty database."""
    return engine.url(tmp_path)


@pytest.fixture(scope="session")
def genesis_template(templates: Templates) -> World:
    """A stopped world after genesis, on SQLite. Copy it; never start it."""
    return templates.genesis(SQLITE_ONLY)


@pytest.fixture(scope="session")
def factory_template(templates: Templates) -> World:
    """The same with the work order `wo-1` of 20, serials BMS-000001 to BMS-000025."""
    return templates.factory(SQLITE_ONLY)


@pytest.fixture
def genesis_world(templates: Templates, engine: Engine, tmp_path: Path) -> Iterator[World]:
    """A started world after genesis, on a private copy."""
    world = copy_world(templates.genesis(engine), tmp_path / "world").start()
    yield world
    world.stop()


@pytest.fixture
def factory_world(templates: Templates, engine: Engine, tmp_path: Path) -> Iterator[World]:
    """A started world with the open work order `wo-1`, on a private copy."""
    world = copy_world(templates.factory(engine), tmp_path / "world").start()
    yield world
    world.stop()
