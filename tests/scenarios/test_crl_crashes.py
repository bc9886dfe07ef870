"""A crash while a revocation list is signed: the intent is closed as unknown, and the next turn signs the list."""

import asyncio
from pathlib import Path

import pytest
from cryptography import x509

from ceremonies.crls import Crls
from tests.ceremonies.revoking import issue, list_lists, read_list, revoke, turn
from tests.scenarios.test_crashes import check_journal, crash, read_leaves
from tests.world import World, copy_world

LIST = "crl/device-ca.crl"


@pytest.mark.req("CA-9", "AU-1", "T27")
@pytest.mark.parametrize("point", ["list after T1", "list after sign", "list after T2"])
def test_a_crash_while_a_list_is_signed(hsm_template: World, tmp_path: Path, point: str) -> None:
    world = copy_world(hsm_template, tmp_path).start()
    (certificate,) = issue(world, 1)
    turn(world)
    old = read_list(world, LIST)
    revoke(world, "BMS-000001")
    world.stop()
    crash(world, point, "auditor")
    world.start()
    try:
        released = point == "list after T2"
        mine = [leaf["type"] for leaf in read_leaves(world) if leaf.get("op", {}).get("kind") == "crl"]
        unknown = [leaf for leaf in read_leaves(world) if leaf["type"] == "key.sign.unknown"]
        assert (mine[-1] == "key.sign.outcome", len(unknown)) == (released, 0 if released else 1)
        assert read_list(world, LIST) == old
        assert list_lists(world)[LIST].current == released
        asyncio.run(Crls(world.room).turn())
        new = read_list(world, LIST)
        assert [entry.serial_number for entry in new] == [certificate.serial_number]
        numbers = [crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number for crl in (old, new)]
        assert numbers[0] < numbers[1]
        asyncio.run(check_journal(world))
    finally:
        world.stop()
