"""Boxes and grants as callers see them; certificates that were seen."""

import asyncio

import pytest

from ceremonies.commands import FindStrays, GrantsListed, ListGrants
from tests.ceremonies.boxed import CA, GRANT, Pair, issue, make_grant
from tests.ceremonies.field import problem
from tests.world import PLANT


def test_a_box_lists_what_it_holds_and_a_centre_what_it_made(pair: Pair) -> None:
    async def play() -> tuple[GrantsListed, GrantsListed]:
        await issue(pair.box, "BMS-000001")
        await make_grant(pair.centre, "graz-2", 5)
        asked = [await world.ask(ListGrants(), "auditor", GrantsListed) for world in (pair.box, pair.centre)]
        return asked[0], asked[1]

    box, centre = asyncio.run(play())
    assert (box.plant, box.boxes) == (PLANT, ())
    assert [(item.id, item.used, item.current) for item in box.grants] == [(GRANT, 1, True)]
    assert [(item.box, item.size, item.time) for item in centre.boxes] == [(CA, 0, "")]
    assert [(item.id, item.box, item.number, item.used, item.current) for item in centre.grants] == [
        (GRANT, CA, 1, 0, False), ("graz-2", CA, 2, 0, True),
    ]  # fmt: skip


@pytest.mark.parametrize("data", [b"", b"0\x82\x01", b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"])
def test_what_is_no_certificate_is_refused(pair: Pair, data: bytes) -> None:
    assert problem(asyncio.run(pair.centre.try_ask(FindStrays((data,)), "officer"))).code == "der-malformed"
