"""Plans are strict: what is not understood is refused."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ceremonies.plans import (
    PLAN_LIMIT,
    ClosePlan,
    CounterPlan,
    DestroyPlan,
    GenesisPlan,
    PlanMalformed,
    RotationPlan,
    WorkOrder,
    read_plan,
    read_shown,
    write_plan,
)
from pki.jcs import jcs
from tests.ceremonies.examples import order_plan
from tests.world import plan_set, soft_world


def order(**fields: Any) -> WorkOrder:
    found: WorkOrder = read_plan(order_plan("wo", **fields), WorkOrder)
    return found


@pytest.mark.parametrize(
    ("serial", "covered"),
    [
        ("BMS-000001", True),
        ("BMS-000025", True),
        ("BMS-000000", False),
        ("BMS-000026", False),
        ("BMS-1", False),
        ("BMS-0000001", False),
        ("BMS-00000\N{ARABIC-INDIC DIGIT ONE}", False),
        ("BMS-00001 ", False),
        ("BMS-+00001", False),
        ("bms-000001", False),
        ("000001", False),
        ("BMS-BMS-000001", False),
        ("BMS-", False),
        ("", False),
    ],
)
def test_a_work_order_covers_its_serials_only(serial: str, covered: bool) -> None:
    assert order().covers(serial) == covered


@given(st.integers(0, 99_999), st.integers(0, 99_999), st.integers(0, 99_999))
def test_a_range_is_a_range(first: int, length: int, number: int) -> None:
    last = min(first + length, 99_999)
    item = order(first=first, last=last, digits=5, prefix="")
    assert item.covers(f"{number:05}") == (first <= number <= last)


@pytest.mark.parametrize(
    "fields",
    [
        {"first": 26},
        {"valid_from": 4_000_000_000},
        {"last": 1_000_000},
        {"quantity": 0},
        {"quantity": 1.5},
        {"quantity": "20"},
        {"quantity": True},
        {"digits": 0},
        {"prefix": "bms-"},
        {"prefix": "BMS\n"},
        {"id": "a/b"},
        {"id": "wo\n"},
        {"more": 1},
        {"plant": None},
        {"serials": ["A-1"]},
        {"lines": ["a", "a"]},
        {"rework_quantity": -1},
        {"stations": ["a b"]},
    ],
)
def test_a_bad_work_order_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(PlanMalformed):
        order(**fields)


def listed(*serials: str, **fields: Any) -> WorkOrder:
    plan = json.loads(order_plan("wo", **fields))
    rest = {name: value for name, value in plan.items() if name not in ("prefix", "digits", "first", "last")}
    found: WorkOrder = read_plan(json.dumps({**rest, "serials": serials}).encode(), WorkOrder)
    return found


def test_serials_may_be_listed() -> None:
    item = listed("BMS-7", "A.1", "Z")
    assert [item.covers(serial) for serial in ("BMS-7", "A.1", "Z", "BMS-8", "")] == [True, True, True, False, False]
    assert (item.ends, order().ends) == (("A.1", "Z"), ("BMS-000001", "BMS-000025"))


@pytest.mark.parametrize("serials", [(), ("A", "A"), ("a",), ("A-",), ("A" * 65,), tuple(map(str, range(10_001)))])
def test_a_bad_list_of_serials_is_refused(serials: tuple[str, ...]) -> None:
    with pytest.raises(PlanMalformed):
        listed(*serials)


@pytest.mark.parametrize("prefix", ["", "BMS-"])
def test_an_order_of_an_earlier_release_keeps_its_bytes(prefix: str) -> None:
    plan = order_plan("wo", prefix=prefix)
    assert jcs(write_plan(order(prefix=prefix))) == jcs(json.loads(plan))
    named = order(lines=["line-1"], stations=["st-1"], rework_quantity=2)
    assert {"lines", "stations", "rework_quantity"} <= write_plan(named).keys()
    assert read_plan(jcs(write_plan(named)), WorkOrder) == named


@pytest.mark.parametrize(
    "data",
    [b"", b"null", b"[]", b"{", b'{"a":1,"a":1}', b"\xff", b"[" * 100_000, b" " * (PLAN_LIMIT + 1), b'{"first": NaN}'],
    ids=["empty", "null", "list", "cut", "twice", "bytes", "deep", "long", "nan"],
)
@pytest.mark.req("T19")
def test_what_is_no_plan_is_refused(data: bytes) -> None:
    for kind in (WorkOrder, ClosePlan, GenesisPlan, RotationPlan, CounterPlan, DestroyPlan):
        with pytest.raises(PlanMalformed):
            read_plan(data, kind)
    if data:
        with pytest.raises(PlanMalformed, match="stored plan"):
            read_shown(data)


def test_plans_are_written_as_they_are_read(tmp_path: Any) -> None:
    genesis = read_plan(json.dumps(soft_world(tmp_path).genesis_plan()).encode(), GenesisPlan)
    assert msgspec.convert(write_plan(genesis), GenesisPlan) == genesis
    rotation = {"keys": [], "trust_set": plan_set(), "signers": ["oem-root-1"]}
    plan = read_plan(json.dumps(rotation).encode(), RotationPlan)
    assert read_plan(json.dumps(write_plan(plan)).encode(), RotationPlan) == plan


def test_a_plan_names_something() -> None:
    with pytest.raises(PlanMalformed):
        read_plan(b'{"labels":[],"reason":"x"}', DestroyPlan)
    with pytest.raises(PlanMalformed):
        read_plan(b'{"labels":["a"],"reason":""}', DestroyPlan)
