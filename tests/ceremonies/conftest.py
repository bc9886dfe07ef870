"""Worlds after genesis: held once per session and kind of keys, then copied, keys and all, for each test."""

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from tests.ceremonies.rotated import Fleet, move_all, rotate
from tests.ceremonies.templates import Keys, Templates
from tests.world import World, copy_world


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Templates:
    """Stopped worlds to copy."""
    return Templates(tmp_path_factory.mktemp)


@pytest.fixture
def keys(request: pytest.FixtureRequest) -> Keys:
    """The kind of keys: soft ones unless the test is marked with `on_both_keys`."""
    return cast(Keys, getattr(request, "param", "soft"))


@pytest.fixture(scope="session")
def genesis_template(templates: Templates) -> World:
    """A stopped world on soft keys after genesis. Copy it; never start it."""
    return templates.genesis()


@pytest.fixture(scope="session")
def factory_template(templates: Templates) -> World:
    """A stopped world on soft keys after genesis with the work order `wo-1` of 20, BMS-000001 to BMS-000025."""
    return templates.factory()


@pytest.fixture
def genesis_world(templates: Templates, keys: Keys, tmp_path: Path) -> Iterator[World]:
    """A started world after genesis, on a private copy."""
    world = copy_world(templates.genesis(keys), tmp_path / "world").start()
    yield world
    world.stop()


@pytest.fixture
def factory_world(templates: Templates, keys: Keys, tmp_path: Path) -> Iterator[World]:
    """A started world with the open work order `wo-1`, on a private copy."""
    world = copy_world(templates.factory(keys), tmp_path / "world").start()
    yield world
    world.stop()


@pytest.fixture
def rotated(templates: Templates, keys: Keys, tmp_path: Path) -> Iterator[Fleet]:
    """Two controllers that have not heard of the set (0, 1) and its transition release yet."""
    fleet = templates.fleet(rotate, 2, keys).copy(tmp_path / "world")
    yield fleet
    fleet.world.stop()


@pytest.fixture
def moved(templates: Templates, keys: Keys, tmp_path: Path) -> Iterator[Fleet]:
    """Two controllers that follow the set (0, 1), run its transition release and have said so."""
    fleet = templates.fleet(move_all, 2, keys).copy(tmp_path / "world")
    yield fleet
    fleet.world.stop()
