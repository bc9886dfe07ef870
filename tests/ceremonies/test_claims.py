"""What an intent spends, decided for a whole batch at once."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from sqlalchemy import Connection, create_engine

from ceremonies.claims import (
    Claim,
    Known,
    QuotaExhausted,
    RequestMismatch,
    RequestOpen,
    Same,
    Verdict,
    claim_changes,
    count_grants,
    count_quotas,
    decide_claims,
)
from ceremonies.grant_tables import QuotaGrantRow
from ceremonies.granted import Centre, Grant, Grants
from ceremonies.journal import JournalForked
from ceremonies.orders import Order, RequestKey
from ceremonies.replay import Quota
from ceremonies.statements import apply_changes
from ceremonies.store import Insert, Store, Update
from ceremonies.tables import RequestRow, ReservationRow, WorkOrderRow
from pki.drafts import Draft
from tests.ceremonies.small import BY, NoRoomError, reserve
from tests.ceremonies.test_store import open_store
from tests.engines import Engine

pytestmark = pytest.mark.engines


@pytest.fixture
def store(engine: Engine, tmp_path: Path) -> Store:
    """A store with one work order of three units."""
    opened = open_store(engine.url(tmp_path))
    with opened.write() as connection:
        apply_changes(connection, [Insert(WorkOrderRow, {"id": "wo", "document": "", "quantity": 3, "issued": 0})])
    return opened


def order(
    request: str = "", *names: str, payload: bytes = b"", body: str = "b", work_order: str | None = None
) -> Order:
    """An order without keys."""
    draft = Draft("k", "s", payload, (), {}, {}, lambda _: b"")
    given = RequestKey(request, body, b"recipe") if request else None
    return Order(draft=draft, by=BY, name="n", request=given, reserve=reserve(*names), work_order=work_order)


def claim(store: Store, orders: Sequence[Order], issued: int = 0) -> list[Verdict]:
    """Decide and write in one transaction."""
    with store.write() as connection:
        return decide(connection, orders, issued)


def decide(connection: Connection, orders: Sequence[Order], issued: int = 0) -> list[Verdict]:
    """Decide and write, as T1 does; intents stand from index 10 on."""
    verdicts = decide_claims(connection, orders, {"wo": Quota(3, issued)})
    pairs = list(zip(orders, verdicts, strict=True))
    quotas = count_quotas(connection, pairs)
    changes = claim_changes([(item, verdict, 10 + at) for at, (item, verdict) in enumerate(pairs)], quotas)
    apply_changes(connection, changes)
    return verdicts


def words(verdicts: Sequence[Verdict]) -> list[str]:
    """The kinds of verdicts."""
    return [type(verdict).__name__ for verdict in verdicts]


def finish(store: Store, request: str) -> None:
    """The request's document is sealed."""
    with store.write() as connection:
        apply_changes(connection, [Update(RequestRow, {"id": request}, {"outcome": 99, "document": "dd"})])


def test_a_name_is_spent_once(store: Store) -> None:
    verdicts = claim(store, [order("a", "x"), order("b", "x"), order("", "x"), order("", "y"), order("", "y")])
    assert words(verdicts) == ["Claim", "NoRoomError", "NoRoomError", "Claim", "NoRoomError"]
    assert words(claim(store, [order("c", "x"), order("", "y")])) == ["NoRoomError"] * 2
    assert [row["owner"] for row in store.list(ReservationRow, "name")] == ["a", ""]
    store.close()


def test_the_same_request_comes_again(store: Store) -> None:
    assert claim(store, [order("a", "x"), order("a", "x", payload=b"other")]) == [Claim(("x",)), Same(0)]
    assert claim(store, [order("a", "x"), order("a", "x")]) == [Claim((), 10), Same(0)]
    opened = claim(store, [order("a", "x", payload=b"other")])
    assert isinstance(opened[0], RequestOpen)
    assert opened[0].recipe == b"recipe"
    finish(store, "a")
    assert claim(store, [order("a", payload=b"other"), order("a")]) == [Known(99, "dd")] * 2
    store.close()


def test_the_same_request_with_another_body_is_none(store: Store) -> None:
    assert words(claim(store, [order("a"), order("a", body="c"), order("a")])) == ["Claim", "RequestMismatch", "Same"]
    assert words(claim(store, [order("a", body="c")])) == ["RequestMismatch"]
    finish(store, "a")
    assert isinstance(claim(store, [order("a", body="c")])[0], RequestMismatch)
    store.close()


def test_a_retry_spends_names_that_are_new_and_respects_those_of_others(store: Store) -> None:
    """A retry may come with a fresh token: that token is spent as well, and one of another request is refused."""
    claim(store, [order("a", "x", "jti-1"), order("b", "jti-2")])
    assert claim(store, [order("a", "x", "jti-3")]) == [Claim(("jti-3",), 10)]
    assert words(claim(store, [order("b", "jti-3"), order("a", "x", "jti-2")])) == ["NoRoomError", "NoRoomError"]
    store.close()


def test_names_without_their_request_row_stay_spent(store: Store) -> None:
    claim(store, [order("a", "x")])
    with store.write() as connection:
        connection.exec_driver_sql("DELETE FROM request")
    assert words(claim(store, [order("a", "x")])) == ["NoRoomError"]
    store.close()


def test_a_quota_is_exact_within_a_batch(store: Store) -> None:
    orders = [order(f"r{number}", work_order="wo") for number in range(5)]
    orders.insert(1, order("r0", work_order="wo"))
    assert words(claim(store, orders)) == ["Claim", "Same", "Claim", "Claim", "QuotaExhausted", "QuotaExhausted"]
    again = claim(store, [order("r0", work_order="wo"), order("r9", work_order="wo")], issued=3)
    assert again[0] == Claim((), 10)
    assert isinstance(again[1], QuotaExhausted)
    assert (store.find(WorkOrderRow, id="wo") or {})["issued"] == 3
    store.close()


@pytest.mark.req("T4")
def test_rework_uses_no_unit_of_the_quota(store: Store) -> None:
    reworked = [replace(order(f"w{number}", f"permit{number}", work_order="wo"), rework=True) for number in range(2)]
    orders = [reworked[0], *(order(f"r{number}", work_order="wo") for number in range(4)), reworked[1]]
    assert words(claim(store, orders)) == ["Claim", "Claim", "Claim", "Claim", "QuotaExhausted", "Claim"]
    assert (store.find(WorkOrderRow, id="wo") or {})["issued"] == 3
    store.close()


@pytest.mark.req("T4")
def test_after_its_closing_an_order_seals_nothing_that_was_begun(store: Store) -> None:
    claim(store, [order("begun", "x", work_order="wo"), order("done", work_order="wo")])
    with store.write() as connection:
        connection.exec_driver_sql("UPDATE request SET outcome = 12, document = 'd' WHERE id = 'done'")
        asked = [order("begun", "x", work_order="wo"), order("new", work_order="wo"), order("done", work_order="wo")]
        verdicts = decide_claims(connection, asked, {"wo": Quota(3, 2, closed=True)})
    assert words(verdicts) == ["WorkOrderClosed", "WorkOrderClosed", "Known"]
    store.close()


def test_a_quota_that_the_journal_does_not_know_is_refused(store: Store) -> None:
    assert isinstance(claim(store, [order("a", work_order="wo")], issued=1)[0], JournalForked)
    assert words(claim(store, [order("a", work_order="none")])) == ["JournalForked"]
    store.close()


def test_a_closed_order_still_repeats(store: Store) -> None:
    closed = NoRoomError("closed")
    assert claim(store, [replace(order("a"), closed=closed)]) == [closed]
    claim(store, [order("a")])
    assert words(claim(store, [replace(order("a"), closed=closed)])) == ["Claim"]
    store.close()


batches = st.lists(
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xyz"), st.booleans()), max_size=6), max_size=4
)


@pytest.mark.unmeasured
@settings(max_examples=30)
@given(batches)
def test_batches_decide_as_one_by_one(plan: list[list[tuple[str, str, bool]]]) -> None:
    """A batch grants exactly the claims that its orders would get one after the other."""
    granted = []
    for alone in (False, True):
        count = 0
        with create_engine("sqlite://").connect() as connection:
            RequestRow.metadata.create_all(connection)
            for batch in plan:
                orders = [
                    order(request, {"a": "x", "b": "y"}[request]) if keep else order(f"{request}{name}", name)
                    for request, name, keep in batch
                ]
                for part in [[item] for item in orders] if alone else [orders]:
                    count += sum(isinstance(verdict, Claim) and verdict.fresh for verdict in decide(connection, part))
        granted.append(count)
    assert granted[0] == granted[1]


def grants_of(used: int = 0, *more: str) -> Grants:
    """A site box with the grant `g1` of three certificates, of which some are used, and later grants."""
    grants = Grants(centre=Centre("graz", "aa" * 32, "bb" * 32))
    for number, name in enumerate(("g1", *more), 1):
        grants.held[name] = Grant(name, number, "ca" * 32, 3, ("idevid",), (), 1, 2, "dd" * 32, used)
    return grants


def device(request: str, grant: str | None = "g1", **fields: Any) -> Order:
    """A device certificate under a work order that has no end."""
    draft = Draft("certificate.idevid", "s", request.encode(), (), {}, {}, lambda _: b"")
    return replace(order(request), draft=draft, grant=grant, **fields)


def decide_granted(connection: Connection, orders: Sequence[Order], grants: Grants) -> list[Verdict]:
    """As T1 does; what was begun is counted as the replay counts it."""
    verdicts = decide_claims(connection, orders, {}, grants)
    pairs = list(zip(orders, verdicts, strict=True))
    claimed = [(item, verdict, 10 + at) for at, (item, verdict) in enumerate(pairs)]
    apply_changes(connection, claim_changes(claimed, {}, count_grants(connection, pairs)))
    for item, verdict in pairs:
        if isinstance(verdict, Claim) and verdict.fresh and item.grant:
            grants.count(item.grant)
    return verdicts


@pytest.fixture
def box(store: Store) -> Store:
    """The store of a site box that holds `g1`."""
    with store.write() as connection:
        row = {"id": "g1", "document": "", "quantity": 3, "issued": 0}
        apply_changes(connection, [Insert(QuotaGrantRow, row)])
    return store


@pytest.mark.req("CA-13")
def test_a_grant_is_a_quota_over_all_orders(box: Store) -> None:
    grants = grants_of()
    with box.write() as connection:
        first = decide_granted(connection, [device("a"), device("a"), device("b", rework=True), order("list")], grants)
        assert words(first) == ["Claim", "Same", "Claim", "Claim"]
        second = decide_granted(connection, [device("b", rework=True), device("c"), device("d"), device("e")], grants)
        assert words(second) == ["Claim", "Claim", "GrantExhausted", "GrantExhausted"]
        assert words(decide_granted(connection, [device("a")], grants)) == ["Claim"]  # what was begun is finished
    assert (grants.held["g1"].left, box.list(QuotaGrantRow, "id")[0]["issued"]) == (0, 3)
    box.close()


@pytest.mark.req("T5")
def test_no_road_leads_past_the_grant(box: Store) -> None:
    with box.write() as connection:
        assert words(decide_granted(connection, [device("a", None)], grants_of())) == ["GrantMissing"]
        assert words(decide_granted(connection, [device("a", "other")], grants_of())) == ["GrantMissing"]
        assert words(decide_granted(connection, [device("a")], grants_of(0, "g2"))) == ["GrantOver"]
        assert words(decide_granted(connection, [device("a")], grants_of(1))) == ["JournalForked"]
        assert words(decide_claims(connection, [device("a", None)], {}, Grants())) == ["Claim"]  # no site box
    box.close()


@settings(max_examples=30)
@given(st.lists(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.booleans()), max_size=6), max_size=4))
def test_never_more_than_was_granted(plan: list[list[tuple[str, bool]]]) -> None:
    """However requests come, together or again: as many certificates are begun as there are requests, at most three."""
    grants, granted = grants_of(), set[str]()
    with create_engine("sqlite://").connect() as connection:
        RequestRow.metadata.create_all(connection)
        row = {"id": "g1", "document": "", "quantity": 3, "issued": 0}
        apply_changes(connection, [Insert(QuotaGrantRow, row)])
        for batch in plan:
            orders = [device(request, rework=rework) for request, rework in batch]
            verdicts = decide_granted(connection, orders, grants)
            begun = [item.request for item, one in zip(orders, verdicts, strict=True) if isinstance(one, Claim)]
            granted |= {request.id for request in begun if request}
    asked = {request for batch in plan for request, _ in batch}
    assert grants.held["g1"].used == len(granted) == min(3, len(asked))
