"""The export of one party: what belongs to it, and nothing of anyone else."""

import asyncio

import pytest

from ceremonies import export as module
from ceremonies.commands import ExportParty, JournalPart, Problem
from tests.ceremonies.examples import read_leaves
from tests.ceremonies.fetching import Kind, fetch_party, verify
from tests.world import CLASS, PLANT, RefusedError, World, issue_device, make_request


async def work(world: World) -> None:
    """Two devices of two orders."""
    await issue_device(world, 1, make_request())
    await issue_device(world, 2, make_request())


@pytest.mark.req("AU-10", "T36")
def test_each_party_gets_its_own_entries_with_proofs(factory_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PART_BYTES", 5_000)
    world = factory_world
    asyncio.run(work(world))
    wanted: list[tuple[Kind, str, dict[str, int]]] = [
        ("device", "BMS-000001", {"key.sign.intent": 1, "key.sign.outcome": 1}),
        ("work-order", "wo-1", {"key.sign.outcome": 2, "quota.open": 1, "approval": 2, "ceremony.close": 1}),
        ("site", "graz", {"key.sign.outcome": 2, "quota.open": 1}),
        ("key", "device-ca", {"key.generate.outcome": 1, "key.state": 1, "key.sign.intent": 2}),
    ]
    for kind, name, types in wanted:
        files = asyncio.run(fetch_party(world, kind, name))
        report = verify(world, files)
        assert report.verdict == "authenticated"
        assert types.items() <= report.types.items()
        if kind == "device":
            assert all(b"BMS-000002" not in data for data in files.values())
            assert not any(path.startswith("tile/") for path in files)
        if kind != "key":
            policy = world.policy.document
            assert policy not in files.values()


@pytest.mark.req("AU-10", "CA-9")
def test_a_revocation_belongs_to_its_device_its_order_and_its_ca(factory_world: World) -> None:
    world = factory_world
    asyncio.run(work(world))
    plan = {"reason": "superseded", "why": "recall", "serials": ["BMS-000001"]}
    asyncio.run(world.ceremony("recall", "revoke", plan))
    parties: list[tuple[Kind, str, int]] = [
        ("device", "BMS-000001", 1), ("device", "BMS-000002", 0), ("work-order", "wo-1", 1), ("key", "device-ca", 1),
        ("key", "site-ca", 0),
    ]  # fmt: skip
    for kind, name, count in parties:
        report = verify(world, asyncio.run(fetch_party(world, kind, name)))
        assert report.types.get("certificate.revoke", 0) == count, name


@pytest.mark.req("AU-10", "T36")
def test_a_change_is_its_ceremony(factory_world: World) -> None:
    world = factory_world

    async def read() -> dict[str, bytes]:
        plan = {
            "id": "wo-2", "profile": "idevid", "class_name": CLASS, "plant": PLANT, "prefix": "X-", "digits": 6,
            "first": 1, "last": 9, "quantity": 9, "valid_from": 0, "valid_to": 1 << 33, "organization": "Acme Storage",
        }  # fmt: skip
        await world.propose("change-7", "work-order", plan, "CHG 7/2026")
        await world.carry_out("change-7", "bob", "carol")
        return await fetch_party(world, "change", "CHG 7/2026")

    report = verify(world, asyncio.run(read()))
    assert report.types == {"approval": 2, "ceremony.close": 1, "ceremony.open": 1, "quota.open": 1}


@pytest.mark.req("AU-5", "AZ-2")
def test_auditors_ask_and_every_export_is_an_entry(factory_world: World) -> None:
    world = factory_world
    for role in ("station", "officer", "operator", "pipeline", "gateway"):
        answer = asyncio.run(world.try_ask(ExportParty("work-order", "wo-1"), role))
        assert isinstance(answer, Problem)
        assert answer.code == "role-refused"
    asyncio.run(fetch_party(world, "work-order", "wo-1"))
    exports = [leaf for leaf in read_leaves(world) if leaf["type"] == "export"]
    what = {"export": "party", "kind": "work-order", "name": "wo-1"}
    assert [leaf["actor"]["role"] for leaf in exports if leaf["op"]["what"] == what] == ["auditor"]


def test_what_nobody_is_and_what_is_over_is_refused(factory_world: World) -> None:
    for command, what in [
        (ExportParty("device", "BMS-000009"), "no entry belongs to the device BMS-000009"),
        (ExportParty("key", "no-such-key"), "no key has the label no-such-key"),
        (ExportParty("device", "BMS-1", 12, "entry/0"), "this export is over"),
        (ExportParty("device", "BMS-1", 12, "tile/0"), "this export is over"),
    ]:
        with pytest.raises(RefusedError, match=f"export-refused: {what}"):
            asyncio.run(factory_world.ask(command, "auditor", JournalPart))
