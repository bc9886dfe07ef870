"""A world on SoftHSM, made once per session and copied for each crash."""

import pytest

from tests.ceremonies.conftest import (
    factory_template,
    factory_world,
    genesis_template,
    genesis_world,
    keys,
    pair,
    pair_template,
)
from tests.ceremonies.templates import Templates
from tests.engines import Engine
from tests.world import World, hsm_world, plan_set

__all__ = ["factory_template", "factory_world", "genesis_template", "genesis_world", "keys", "pair", "pair_template"]


@pytest.fixture
def hsm_template(templates: Templates, engine: Engine) -> World:
    """A stopped world after genesis: work order `wo-1`; ceremonies `rotate` and `drop` approved and not executed."""
    return templates.find("hsm", engine, lambda path: hsm_world(path, engine.database()), prepare)


async def prepare(world: World) -> None:
    """Everything that a crash may interrupt, up to the last request."""
    await world.genesis()
    await world.open_order()
    root = {"label": "oem-root-4", "role": "oem-root", "algorithm": "p256", "token": "kedge-main"}
    rotation = {
        "keys": [root],
        "trust_set": plan_set(roots=(2, 3, 4)),
        "signers": ["oem-root-1", "oem-root-2"],
    }
    await world.propose("rotate", "trust-set", rotation)
    await world.propose("drop", "destroy", {"labels": ["site-ca"], "reason": "never used"})
    for name in ("rotate", "drop"):
        await world.approve(name, "plan", "bob", "carol")
