"""A birth package after genesis: complete, signed under the newest set, and the one that stations are told of."""

import asyncio

import pytest

from ceremonies.trustsets import load_sets
from pki.trust.packages import verify_birth_package
from pki.trust.sets import Domain
from tests.ceremonies.field import list_sets, problem, propose
from tests.ceremonies.rotated import Fleet
from tests.world import CLASS, World, issue_device, make_request

PLAN = {"class_name": CLASS, "fuses": [["SRK0", "01020304"]], "counters": {"0": 1, "2": 3}, "golden": "ab" * 32}


@pytest.mark.req("EV-3")
def test_the_line_burns_the_newest_package(rotated: Fleet) -> None:
    world = rotated.world

    async def play() -> None:
        before = (await issue_device(world, 5, make_request())).birth_package
        shown = await world.ceremony("birth-2", "birth-package", PLAN)
        ((kind, _, digest),) = shown.documents
        after = (await issue_device(world, 6, make_request())).birth_package
        assert (kind, after) == ("birth-package", digest)
        assert before not in (None, digest)
        (genesis, _), (newest, _) = load_sets(world.room.store)
        package = verify_birth_package(genesis, newest, world.room.store.blob(digest) or b"")
        assert (package.golden, package.fuses) == (bytes.fromhex("ab" * 32), (("SRK0", b"\1\2\3\4"),))
        assert package.counters == {Domain.TRUST: 1, Domain.APP: 3}
        assert len(await list_sets(world)) == 2

    asyncio.run(play())
    births = dict(world.room.ledger.replay.births)
    world.stop()
    assert world.start().room.ledger.replay.births == births


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"fuses": [["SRK0", "xyz"]]}, "plan-malformed"),
        ({"counters": {"9": 1}}, "plan-malformed"),
        ({"golden": "AB"}, "plan-malformed"),
        ({"class_name": "pcs"}, "class-unknown"),
    ],
)
def test_what_cannot_be_burnt_is_refused(genesis_world: World, change: dict[str, object], code: str) -> None:
    answer = asyncio.run(propose(genesis_world, "birth-2", "birth-package", {**PLAN, **change}))
    assert problem(answer).code == code
