"""Orders on their way: whose error is whose, which blobs are kept where, and which rows follow."""

import asyncio

import msgspec

from ceremonies.jobs import Job
from ceremonies.orders import Sealed
from ceremonies.passages import Batch, Follows, Passage, attempt, intent_blobs, keep, outcome_changes, repeat
from ceremonies.store import Insert, Update, read_parts, write_parts
from ceremonies.tables import BlobRow, DocumentRow, EvidenceRow, RequestRow
from tests.ceremonies.small import make_draft, make_order, seal_batch, sha256
from tests.world import World

SEALED = Sealed(b"document", "dd", 7, b"entry", b"")


def make_passage(world: World, request: str = "") -> Passage:
    """An order that is about to go in."""

    async def make() -> Passage:
        return Passage(Job(make_order(world, b"1", request)))

    return asyncio.run(make())


def test_an_error_is_that_of_its_passage(genesis_world: World) -> None:
    passage, neighbour = make_passage(genesis_world), make_passage(genesis_world)

    def fail(_: Passage) -> None:
        raise ZeroDivisionError

    attempt(passage, fail)
    attempt(neighbour, lambda _: None)
    assert isinstance(passage.error, ZeroDivisionError)
    assert neighbour.error is None


def test_a_batch_knows_the_requests_of_those_that_go_on(genesis_world: World) -> None:
    passages = [make_passage(genesis_world, name) for name in ("a", "b", "")]
    assert Batch(passages, 5).requests == set()
    assert Batch(passages, 5, passages[1:]).requests == {"b"}


def test_a_repeat_is_the_same_answer_and_says_so() -> None:
    assert repeat(SEALED) == msgspec.structs.replace(SEALED, replayed=True)


def test_blobs_of_bulk_work_are_kept_by_entry_and_others_by_digest(factory_world: World) -> None:
    world = factory_world
    draft = make_draft(world, "director", "challenge", b"bulk")
    bulk = make_order(world, b"", "bulk", draft=draft, blobs=(b"csr",), work_order="wo-1")
    follows: Follows = ([], [])
    keep(bulk, 9, intent_blobs(bulk), follows)
    statement = draft.statement
    assert follows[0] == [Insert(EvidenceRow, {"seq": 9, "parts": write_parts([statement, b"bulk", b"csr"])})]
    assert follows[1] == []
    single = make_order(world, b"one", blobs=(b"more",))
    keep(single, 9, [b"one", b"more"], follows)
    assert follows[1] == [b"one", b"more"]


def test_what_is_kept_is_found_by_its_digest(factory_world: World) -> None:
    """A document of either kind; nothing is in both places."""
    world = factory_world
    counted = msgspec.structs.replace(make_draft(world, "director", "challenge", b"bulk"), what={"work_order": "wo-1"})
    bulk, single = seal_batch(
        world, make_order(world, b"", "bulk", draft=counted, work_order="wo-1"), make_order(world, b"1")
    )
    for sealed, model in ((bulk, EvidenceRow), (single, BlobRow)):
        assert world.room.store.blob(sealed.sha256) == sealed.document
        evidence = [data for row in world.room.store.list(EvidenceRow, "seq") for data in read_parts(row["parts"])]
        blob = world.room.store.find(BlobRow, data=sealed.document)
        assert (sealed.document in evidence, blob is not None) == (model is EvidenceRow, model is BlobRow)
        assert sha256(sealed.document) == sealed.sha256


def test_a_sealed_document_has_its_row_and_ends_its_request(genesis_world: World) -> None:
    more = [Update(DocumentRow, {"sha256": "x"}, {"kind": "y"})]
    order = make_order(genesis_world, b"1", "id", changes=lambda _: more)
    document = Insert(DocumentRow, {"sha256": "dd", "seq": 7, "kind": "challenge", "name": "n"})
    done = Update(RequestRow, {"id": "id"}, {"outcome": 7, "document": "dd"})
    assert outcome_changes(order, SEALED) == [document, done, *more]
    assert outcome_changes(make_order(genesis_world, b"1"), SEALED) == [document]
