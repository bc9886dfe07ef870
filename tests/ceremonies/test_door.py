"""The one door: who may, the two commits, group commit, and that nothing leaves without a record."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from ceremonies.commands import DeviceIssued, IssueDevice, Problem
from ceremonies.door import DoorClosed
from ceremonies.jobs import Job
from ceremonies.keyring import KINDS
from ceremonies.keywork import change_states
from ceremonies.orders import Order
from ceremonies.passages import Batch
from ceremonies.store import Insert
from ceremonies.tables import DocumentRow, EntryRow, RequestRow
from hsm.errors import KeyNotFound
from pki.drafts import Draft
from pki.log.proofs import parse_proof
from pki.signatures import verify_raw
from tests.ceremonies.small import BY, act, make_draft, make_order, passages, reserve, seal, seal_batch
from tests.crashing import gather_orders
from tests.softbox import Softbox
from tests.world import World, audit_world, issue_device, make_request, plan_keys, soft_keys

pytestmark = pytest.mark.engines

EVERY_KIND = sorted({kind for kinds in KINDS.values() for kind in kinds})
LABELS = {"oem-root": "oem-root-1", "recovery": "recovery-1", "image-app": "image-app-1", "counter": "counter-1"}


def entry_types(world: World, start: int = 0) -> list[str]:
    """The types of entries from an index on."""
    return [row["type"] for row in world.room.store.list(EntryRow, "seq") if row["seq"] >= start]


def test_seal_answers_with_document_entry_and_proof(genesis_world: World) -> None:
    sealed = seal(genesis_world, make_order(genesis_world, b"data"))
    leaf = msgspec.json.decode(sealed.entry)
    assert (leaf["type"], leaf["out"]["doc"], leaf["seq"]) == ("key.sign.outcome", sealed.sha256, sealed.seq)
    key = genesis_world.room.door.keyring.labelled("director")
    verify_raw(genesis_world.room.store.blob(key.spki) or b"", sealed.document, b"data")
    assert parse_proof(sealed.proof).index == sealed.seq
    asyncio.run(audit_world(genesis_world))


@pytest.mark.req("KL-7")
@pytest.mark.parametrize("role", sorted({key["role"] for key in plan_keys()} | {r for r in KINDS if KINDS[r]}))
def test_a_role_signs_only_its_kinds(refusing_genesis: World, role: str) -> None:
    """Every pair of role and kind that is not listed is refused in the door, and no token is asked."""
    label, box = LABELS.get(role, role), soft_keys(refusing_genesis)
    start, before = refusing_genesis.room.ledger.journal.size, box.signed - box.signed_by["journal"]
    kinds = [kind for kind in [*EVERY_KIND, "new.kind"] if kind not in KINDS[role]]
    drafts = [make_draft(refusing_genesis, label, kind, b"x") for kind in kinds]
    results = seal_batch(refusing_genesis, *(make_order(refusing_genesis, b"", draft=draft) for draft in drafts))
    expected = "door-closed" if role == "recovery" else "key-purpose-refused"  # its public half is not even known
    assert {result.code for result in results} == {expected}
    assert box.signed - box.signed_by["journal"] == before
    assert entry_types(refusing_genesis, start) == ["key.sign.denied"] * len(kinds)


@pytest.mark.req("KL-4")
def test_a_suspended_key_does_not_sign(genesis_world: World) -> None:
    act(genesis_world, lambda: change_states(genesis_world.room.door, ["director"], "suspended", BY, why="theft"))
    box = soft_keys(genesis_world)
    assert passages(seal_batch(genesis_world, make_order(genesis_world, b"x"))) == ["key-not-active"]
    assert box.signed_by["director"] == 0


def test_a_quorum_that_the_policy_names_cannot_be_left_out(genesis_world: World) -> None:
    draft = make_draft(genesis_world, "counter-1", "counter-update", b"x")
    assert passages(seal_batch(genesis_world, make_order(genesis_world, b"", draft=draft))) == ["ceremony-unknown"]
    assert soft_keys(genesis_world).signed_by["counter-1"] == 0


def test_before_genesis_the_door_is_closed(genesis_world: World) -> None:
    genesis_world.room.door.governing = None
    with pytest.raises(DoorClosed):
        seal(genesis_world, make_order(genesis_world, b"x"))


def test_one_bad_order_does_not_fail_its_batch(genesis_world: World) -> None:
    """Refused, spent name, unforeseen fault in assembling, facts that no entry can hold: the neighbours are sealed."""
    world = genesis_world
    good = make_draft(world, "director", "challenge", b"fault")
    broken = msgspec.structs.replace(good, assemble=lambda raws: raws["nothing"])
    unheard = msgspec.structs.replace(make_draft(world, "director", "challenge", b"float"), what={"x": 0.5})
    orders = [
        make_order(world, b"", draft=make_draft(world, "journal", "challenge", b"x")),
        make_order(world, b"1", "one", reserve=reserve("name")),
        make_order(world, b"2", "two", reserve=reserve("name")),
        make_order(world, b"", draft=broken),
        make_order(world, b"3", "three"),
        make_order(world, b"3", "three"),
    ]
    results = seal_batch(world, *orders)
    assert isinstance(results[3], KeyError)
    codes = ["key-purpose-refused", "sealed", "no-room", "sealed", "replayed"]
    assert passages([*results[:3], *results[4:]]) == codes
    assert results[4].document == results[5].document != results[1].document
    mixed = seal_batch(world, make_order(world, b"4"), make_order(world, b"", draft=unheard), make_order(world, b"5"))
    assert passages(mixed) == ["sealed", "leaf-invalid", "sealed"]
    asyncio.run(audit_world(world))


def test_one_key_with_two_requests_in_one_batch_is_no_repeat(genesis_world: World) -> None:
    """The same idempotency key with another body gets no document of the first, in one batch as across batches."""
    orders = [make_order(genesis_world, b"1", "id", body="a"), make_order(genesis_world, b"2", "id", body="b")]
    assert passages(seal_batch(genesis_world, *orders)) == ["sealed", "request-mismatch"]
    assert passages(seal_batch(genesis_world, orders[1], orders[0])) == ["request-mismatch", "replayed"]


@pytest.mark.req("AU-1")
def test_a_failed_outcome_releases_nothing_and_is_closed_as_unknown(genesis_world: World) -> None:
    """T2 fails for a row that is there: nothing leaves, the next batch settles, the same bytes may come again."""
    world = genesis_world
    row = {"sha256": "00", "seq": 1, "kind": "k", "name": "n"}
    clash = [Insert(DocumentRow, row), Insert(DocumentRow, row)]
    order = make_order(world, b"1", "id", changes=lambda _: clash)
    start = world.room.ledger.journal.size
    with pytest.raises(Exception, match="database"):
        seal(world, order)
    assert not world.room.ledger.settled
    other = make_order(world, b"other", "id")
    assert passages(seal_batch(world, other)) == ["request-open"]
    again = seal(world, make_order(world, b"1", "id"))
    assert entry_types(world, start) == [
        "key.sign.intent", "key.sign.unknown", "key.sign.denied", "key.sign.intent", "key.sign.outcome",
    ]  # fmt: skip
    assert not again.replayed
    asyncio.run(audit_world(world))


@pytest.mark.req("T5")
def test_what_is_sealed_again_is_what_the_intent_named(genesis_world: World) -> None:
    """A row bent to another draft's digest does not open the door for that draft."""
    world = genesis_world
    failing = msgspec.structs.replace(make_draft(world, "director", "challenge", b"1"), assemble=lambda raws: raws["x"])
    seal_batch(world, make_order(world, b"", "id", draft=failing))
    other = make_order(world, b"other", "id")
    with world.room.store.write() as connection:
        connection.execute(
            RequestRow.metadata.tables["request"].update().values(digest=other.draft.digest, recipe=b"{}")
        )
    signed = soft_keys(world).signed_by["director"]
    assert passages(seal_batch(world, other)) == ["journal-forked"]
    assert soft_keys(world).signed_by["director"] == signed


def test_a_failed_signature_is_an_outcome_and_the_same_bytes_may_come_again(
    genesis_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_self: Softbox, _key: Any, _data: bytes) -> bytes:
        raise KeyNotFound("the token is away")

    with monkeypatch.context() as patched:
        patched.setattr(Softbox, "sign", fail)
        with pytest.raises(KeyNotFound):
            seal(genesis_world, make_order(genesis_world, b"1", "id"))
    assert genesis_world.room.ledger.settled
    assert not seal(genesis_world, make_order(genesis_world, b"1", "id")).replayed
    asyncio.run(audit_world(genesis_world))


def test_inspect_holds_a_document_back(genesis_world: World) -> None:
    def judge(document: bytes) -> None:
        raise DoorClosed("the user would refuse it")

    assert passages(seal_batch(genesis_world, make_order(genesis_world, b"1", "id", inspect=judge))) == ["door-closed"]
    assert genesis_world.room.store.list(DocumentRow, "seq", name="n") == []


def test_a_draft_without_keys_is_refused(genesis_world: World) -> None:
    draft = Draft("challenge", "s", b"", (), {}, {}, lambda _: b"")
    assert passages(seal_batch(genesis_world, make_order(genesis_world, b"", draft=draft))) == ["door-closed"]


@pytest.mark.req("AU-1")
def test_64_callers_share_few_transactions(factory_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Group commit: equal requests share one answer, and the last 10 units of the order go to exactly 10."""
    world = factory_world
    batches: list[int] = []
    real = world.room.door.begin

    def count(jobs: Sequence[Job[Order]], *under_way: Any) -> Batch:
        batches.append(len(jobs))
        return real(jobs, *under_way)

    monkeypatch.setattr(world.room.door, "begin", count)
    csr = make_request()

    async def ask_all() -> list[Any]:
        for number in range(1, 11):
            await issue_device(world, number, make_request())
        batches.clear()
        csrs = [make_request() for _ in range(13)]
        asked = [IssueDevice("wo-1", f"BMS-{number:06}", csrs[number - 11]) for number in range(11, 24)]
        asked += [IssueDevice("wo-1", "BMS-000024", csr)] * 51
        gather_orders(world.room, len(asked))
        return list(await asyncio.gather(*(world.try_ask(command, "station") for command in asked)))

    answers = asyncio.run(ask_all())
    issued = [answer for answer in answers if isinstance(answer, DeviceIssued)]
    assert {answer.code for answer in answers if isinstance(answer, Problem)} <= {"quota-exhausted"}
    assert len({answer.serial for answer in issued if not answer.replayed}) == 10
    assert len([answer for answer in issued if not answer.replayed]) == 10
    assert len({answer.certificate for answer in issued}) == 10
    assert len(batches) <= 16, batches  # each request alone would make 64
    report = asyncio.run(audit_world(world))
    assert report.open == 0
    assert world.room.ledger.replay.quotas["wo-1"].issued == 20


@pytest.mark.req("AU-2")
def test_without_a_journal_key_the_door_is_closed(factory_world: World) -> None:
    """What cannot be proven is not signed; the refusal is an entry all the same."""
    box, ledger = soft_keys(factory_world), factory_world.room.ledger
    ledger.log_key = None
    start, signed = ledger.journal.size, box.signed
    assert passages(seal_batch(factory_world, make_order(factory_world, b"data"))) == ["door-closed"]
    answer = asyncio.run(factory_world.try_ask(IssueDevice("wo-1", "BMS-000001", make_request()), "station"))
    assert isinstance(answer, Problem)
    assert answer.code == "door-closed"
    assert (box.signed, entry_types(factory_world, start)) == (signed, ["key.sign.denied"] * 2)
