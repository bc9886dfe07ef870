"""A fleet on its way: worlds before, in the middle of and after a rotation, each made once per module and copied."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec

from ceremonies.commands import ReleaseSigned
from tests.ceremonies.field import Controller, make_controllers, move, rotation_plan, sign_release, submit
from tests.world import World, copy_world


class Fleet(msgspec.Struct):
    """A world with its controllers and the releases so far."""

    world: World
    controllers: list[Controller]
    releases: dict[str, ReleaseSigned]

    def copy(self, path: Path) -> "Fleet":
        """The same fleet at another place, started."""
        world = copy_world(self.world, path).start()
        return Fleet(world, [controller.fork() for controller in self.controllers], dict(self.releases))


def make_fleet(
    template: World, path: Path, play: Callable[[Fleet], Coroutine[Any, Any, None]], count: int = 2
) -> Fleet:
    """A stopped fleet: `count` controllers that run 2.3.0 (security version 2), after `play`."""
    fleet = Fleet(copy_world(template, path).start(), [], {})

    async def run() -> None:
        release = await sign_release(fleet.world, "2.3.0", 2)
        fleet.releases["2.3.0"] = release
        fleet.controllers += await make_controllers(fleet.world, range(1, count + 1), release)
        await play(fleet)

    asyncio.run(run())
    fleet.world.stop()
    return fleet


async def rotate(fleet: Fleet) -> None:
    """The set (0, 1) and its transition release 2.4.0 (security version 3)."""
    await fleet.world.ceremony("rotate", "trust-set", rotation_plan())
    fleet.releases["2.4.0"] = await sign_release(fleet.world, "2.4.0", 3, channel="transition")


async def move_all(fleet: Fleet) -> None:
    """Rotate, and every controller moves and reports."""
    await rotate(fleet)
    await move(fleet.world, fleet.controllers, fleet.releases["2.4.0"])


async def report_all(fleet: Fleet) -> tuple[str, ...]:
    """Every controller reports."""
    return await submit(fleet.world, *[await controller.report(fleet.world) for controller in fleet.controllers])
