"""Settlements: a medium is believed as far as it verifies, and what is altered in it is named."""

import asyncio
import hashlib
import io
from collections.abc import Callable

import pytest

from ceremonies.commands import BoxSettled, CertificateShown, GrantsListed, ListGrants, SettleBox, ShowCertificate
from ceremonies.settlements import Settlements
from pki.log.evidence import blob_path
from tests.ceremonies.boxed import CA, Pair, carry, issue, pack, settle, unpack
from tests.ceremonies.examples import read_leaves
from tests.ceremonies.field import problem, upload
from tests.world import audit_world

Files = dict[str, bytes]


def flip(name: str, at: int = -1) -> Callable[[Files], Files]:
    """One bit of a file is another."""

    def change(files: Files) -> Files:
        path = next(path for path in sorted(files) if path.startswith(name))
        data = bytearray(files[path])
        data[at] ^= 1
        return {**files, path: bytes(data)}

    return change


def lose(name: str) -> Callable[[Files], Files]:
    """A file is not there."""
    return lambda files: {path: data for path, data in files.items() if not path.startswith(name)}


CHANGES: list[tuple[Callable[[Files], Files], str]] = [
    (flip("checkpoint"), "checkpoint"),
    (flip("checkpoint", 30), "checkpoint"),
    (flip("tile/entries"), "entry"),
    (flip("tile/entries", 40), "entry 0"),
    (flip("tile/0"), "tile/0"),
    (flip("blob/"), "blob/"),
    (flip("leaf.schema.json"), "leaf.schema.json"),
    (lose("tile/entries"), "tile/entries"),
    (lose("tile/0"), "tile/0"),
    (lose("checkpoint"), "checkpoint"),
    (lambda files: {**files, "surplus": b"x"}, "surplus"),
    (lambda files: {**files, blob_path("ab" * 32): b"x"}, "blob/ab"),
    (lambda files: {**files, "party.json": b"{}"}, "party.json"),
    (lambda files: {**files, "consistency": b"old 3\n"}, "consistency"),
]


@pytest.mark.req("AU-2", "T26")
def test_what_was_altered_on_the_way_is_named_and_nothing_is_taken(pair: Pair) -> None:
    centre, box = pair.centre, pair.box

    async def play() -> None:
        await issue(box, "BMS-000001")
        medium = await carry(box)
        files = unpack(medium)
        for change, named in CHANGES:
            told = problem(await settle(centre, pack(change(files))))
            assert told.code == "settlement-refused", named
            assert named in told.message, told.message
        for bad in (
            medium[: len(medium) // 2],
            medium[:700],
            b"no archive",
            medium.replace(b"checkpoint", b"../ckpoint"),
        ):
            assert problem(await settle(centre, bad)).code == "settlement-refused"
        assert problem(await settle(centre, medium, "other")).code == "box-unknown"
        assert problem(await centre.try_ask(SettleBox(CA, ("ab" * 32,)), "officer")).code == "artefact-missing"
        shown = await centre.ask(ListGrants(), "officer", GrantsListed)
        assert shown.boxes[0].size == 0
        assert isinstance(await settle(centre, medium), BoxSettled)

    asyncio.run(play())
    told = [leaf for leaf in read_leaves(centre) if leaf["type"] == "grant.settle"]
    assert sum("out" in leaf for leaf in told) == len(CHANGES) + 5
    assert centre.room.ledger.replay.grants.devices == 1


def test_a_medium_comes_in_parts_and_a_dry_run_writes_nothing(pair: Pair) -> None:
    centre, box = pair.centre, pair.box

    async def play() -> None:
        await issue(box, "BMS-000001")
        medium = await carry(box)
        parts = tuple([await upload(centre, medium[at : at + 50_000]) for at in range(0, len(medium), 50_000)])
        dry = await centre.ask(SettleBox(CA, parts, dry_run=True), "officer", BoxSettled)
        assert (dry.devices, dry.index) == (1, 0)
        done = await centre.ask(SettleBox(CA, parts), "officer", BoxSettled)
        assert (done.devices, done.since) == (1, 0) and done.index
        again = await centre.ask(SettleBox(CA, parts), "officer", BoxSettled)
        assert again == done
        await issue(box, "BMS-000002")
        following = await settle(centre, await carry(box))
        assert (following.since, following.devices, following.certificates) == (done.size, 1, 1)

    asyncio.run(play())
    assert asyncio.run(audit_world(centre)).verdict == "authenticated"


def test_a_box_is_not_settled_twice_from_one_state(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever comes between the reading of a medium and its settlement is seen."""
    centre, box = pair.centre, pair.box
    medium = asyncio.run(carry(box))
    settlements = Settlements(centre.room)
    before = centre.room.ledger.replay.grants.boxes[CA]
    reading = settlements._read(before, "00" * 32, io.BytesIO(medium))
    assert isinstance(asyncio.run(settle(centre, medium)), BoxSettled)
    monkeypatch.setattr(Settlements, "_read", lambda *_: reading)
    asyncio.run(issue(box, "BMS-000001"))
    told = problem(asyncio.run(settle(centre, asyncio.run(carry(box)))))
    assert told.code == "settlement-refused"


def test_a_stranger_settles_nothing(pair: Pair) -> None:
    for role in ("operator", "auditor", "station"):
        told = problem(asyncio.run(pair.centre.try_ask(SettleBox(CA, ("ab" * 32,)), role)))
        assert told.code == "role-refused"


@pytest.mark.req("CA-13")
def test_a_certificate_of_a_box_is_known_from_its_settlement_on(pair: Pair) -> None:
    async def play() -> None:
        issued = await issue(pair.box, "BMS-000001")
        before = problem(await pair.centre.try_ask(ShowCertificate(serial="BMS-000001"), "officer"))
        assert before.code == "certificate-unknown"
        settled = await settle(pair.centre, await carry(pair.box))
        shown = await pair.centre.ask(ShowCertificate(serial="BMS-000001"), "officer", CertificateShown)
        digest = hashlib.sha256(issued.certificate).hexdigest()
        assert (shown.ca, shown.document, shown.index) == (CA, digest, settled.index)

    asyncio.run(play())
