"""Worlds after genesis: held once per session and kind of keys, then copied, keys and all, for each test."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from tests.ceremonies.boxed import Pair, make_pair, prepare_pair
from tests.ceremonies.messaging import Messaging, prepare
from tests.ceremonies.owning import Owner, make_owned
from tests.ceremonies.protected import make_protected, prepare_protected
from tests.ceremonies.revoking import open_copy
from tests.ceremonies.rotated import Fleet, move_all, rotate
from tests.ceremonies.templates import Keys, Templates
from tests.engines import Engine
from tests.world import World, copy_world


@pytest.fixture
def url(engine: Engine, tmp_path: Path) -> str:
    """The URL of a database with tables and without rows."""
    return engine.url(tmp_path)


@pytest.fixture
def keys(request: pytest.FixtureRequest) -> Keys:
    """The kind of keys: soft ones unless the test is marked with `on_both_keys`."""
    return cast(Keys, getattr(request, "param", "soft"))


@pytest.fixture(scope="session")
def genesis_template(templates: Templates) -> World:
    """A stopped world on soft keys and SQLite after genesis. Copy it; never start it."""
    return templates.genesis()


@pytest.fixture(scope="session")
def factory_template(templates: Templates) -> World:
    """The same with the work order `wo-1` of 20, serials BMS-000001 to BMS-000025."""
    return templates.factory()


@pytest.fixture(scope="session")
def messaging_template(templates: Templates, tmp_path_factory: pytest.TempPathFactory) -> Messaging:
    """A stopped world with `wo-1`, a responder of CMP and a certified station. Copy it; never start it."""
    world = copy_world(templates.factory(), tmp_path_factory.mktemp("messaging") / "world").start()
    station = asyncio.run(prepare(world))
    world.stop()
    return Messaging(world, station)


@pytest.fixture
def messaging(messaging_template: Messaging, tmp_path: Path) -> Iterator[Messaging]:
    """A started copy of it, and its clock."""
    world, watch = open_copy(messaging_template.world, tmp_path / "world")
    yield Messaging(world, messaging_template.station, watch)
    world.stop()


@pytest.fixture
def genesis_world(templates: Templates, engine: Engine, keys: Keys, tmp_path: Path) -> Iterator[World]:
    """A started world after genesis, on a private copy."""
    world = copy_world(templates.genesis(engine, keys), tmp_path / "world").start()
    yield world
    world.stop()


@pytest.fixture(scope="module")
def refusing_genesis(templates: Templates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A started world after genesis for all tests of a module in which nothing but refusals happens."""
    world = copy_world(templates.genesis(), tmp_path_factory.mktemp("refusing") / "world").start()
    yield world
    world.stop()


@pytest.fixture(scope="module")
def refusing_factory(templates: Templates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The same with the open work order `wo-1`."""
    world = copy_world(templates.factory(), tmp_path_factory.mktemp("refusing") / "world").start()
    yield world
    world.stop()


@pytest.fixture
def factory_world(templates: Templates, engine: Engine, keys: Keys, tmp_path: Path) -> Iterator[World]:
    """A started world with the open work order `wo-1`, on a private copy."""
    world = copy_world(templates.factory(engine, keys), tmp_path / "world").start()
    yield world
    world.stop()


@pytest.fixture
def owner(templates: Templates, engine: Engine, tmp_path: Path) -> Iterator[Owner]:
    """A device at the site of `site-ca`, and a keyroom whose clock can be set forward."""
    world, watch = open_copy(templates.factory(engine), tmp_path / "owned")
    yield Owner(world, asyncio.run(make_owned(world)), watch)
    world.stop()


@pytest.fixture
def rotated(templates: Templates, engine: Engine, keys: Keys, tmp_path: Path) -> Iterator[Fleet]:
    """Two controllers that have not heard of the set (0, 1) and its transition release yet."""
    fleet = templates.fleet(rotate, 2, engine, keys).copy(tmp_path / "world")
    yield fleet
    fleet.world.stop()


@pytest.fixture
def moved(templates: Templates, engine: Engine, keys: Keys, tmp_path: Path) -> Iterator[Fleet]:
    """Two controllers that follow the set (0, 1), run its transition release and have said so."""
    fleet = templates.fleet(move_all, 2, engine, keys).copy(tmp_path / "world")
    yield fleet
    fleet.world.stop()


@pytest.fixture
def protected_world(templates: Templates, engine: Engine, tmp_path: Path) -> Iterator[World]:
    """A started world whose policy demands hardware of two classes, on a private copy."""

    def make(path: Path) -> World:
        return make_protected(path, database=engine.database())

    template = templates.find("protected", engine, make, prepare_protected)
    world = copy_world(template, tmp_path / "world").start()
    yield world
    world.stop()


@pytest.fixture(scope="session")
def pair_template(templates: Templates, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """A stopped centre, and a site box of it that may issue 10 certificates. Copy it; never start it."""
    path = tmp_path_factory.mktemp("pair")
    pair = make_pair(copy_world(templates.genesis(), path / "centre").start(), path / "box")
    asyncio.run(prepare_pair(pair))
    pair.stop()
    return pair


@pytest.fixture
def pair(pair_template: Pair, tmp_path: Path) -> Iterator[Pair]:
    """The same, started, on private copies."""
    copied = pair_template.copy(tmp_path).start()
    yield copied
    copied.stop()
