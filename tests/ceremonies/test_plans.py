"""Plans are strict: what is not understood is refused."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ceremonies.plans import (
    PLAN_LIMIT,
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
    ],
)
def test_a_bad_work_order_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(PlanMalformed):
        order(**fields)


@pytest.mark.parametrize(
    "data",
    [b"", b"null", b"[]", b"{", b'{"a":1,"a":1}', b"\xff", b"[" * 100_000, b" " * (PLAN_LIMIT + 1), b'{"first": NaN}'],
    ids=["empty", "null", "list", "cut", "twice", "bytes", "deep", "long", "nan"],
)
@pytest.mark.req("T19")
def test_what_is_no_plan_is_refused(data: bytes) -> None:
    for kind in (WorkOrder, GenesisPlan, RotationPlan, CounterPlan, DestroyPlan):
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
