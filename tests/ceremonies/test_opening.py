"""Which work orders officers may open."""

import asyncio
import json
from typing import Any

import pytest

from ceremonies.replay import Quota
from tests.ceremonies.examples import order_plan, read_leaves
from tests.world import CLASS, RefusedError, World


@pytest.mark.req("CA-13")
def test_an_order_is_open_once_its_ceremony_is_closed(genesis_world: World) -> None:
    before = genesis_world.room.ledger.journal.size
    asyncio.run(genesis_world.ceremony("open", "work-order", json.loads(order_plan("wo-7", rework_quantity=2))))
    assert genesis_world.room.ledger.replay.quotas == {"wo-7": Quota(20)}
    (opened,) = [leaf for leaf in read_leaves(genesis_world, before) if leaf["type"] == "quota.open"]
    assert (opened["op"]["what"]["quantity"], opened["op"]["what"]["rework_quantity"]) == (20, 2)
    assert len(opened["apr"]) == 2


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"class_name": "bms-none"}, "class-unknown"),
        ({"profile": "vpn"}, "profile-unknown"),
        ({"profile": "station-tls"}, "not for work orders"),
        ({"first": 9, "last": 3}, "plan-malformed"),
        ({"class_name": CLASS, "surplus": 1}, "plan-malformed"),
    ],
)
def test_orders_that_are_none(genesis_world: World, fields: dict[str, Any], why: str) -> None:
    with pytest.raises(RefusedError, match=why):
        asyncio.run(genesis_world.propose("odd", "work-order", json.loads(order_plan("wo-7", **fields))))


def test_an_id_is_used_once(factory_world: World) -> None:
    with pytest.raises(RefusedError, match="work order wo-1 exists"):
        asyncio.run(factory_world.propose("again", "work-order", json.loads(order_plan("wo-1"))))
