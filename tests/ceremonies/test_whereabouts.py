"""States of devices, and the sums by which rows are compared with entries."""

from itertools import permutations
from typing import Any

import pytest

from ceremonies.sums import Tally
from ceremonies.whereabouts import (
    WAYS,
    Register,
    State,
    StateRefused,
    Whereabouts,
    follow_way,
    list_facts,
    read_facts,
    tally_rows,
)

STATES: tuple[State, ...] = ("issued", "shipped", "installed", "replaced", "returned", "decommissioned")
ALLOWED = {
    ("issued", "ship", "shipped"), ("returned", "ship", "shipped"),
    ("shipped", "install", "installed"), ("installed", "move", "installed"), ("installed", "replace", "replaced"),
    ("shipped", "return", "returned"), ("installed", "return", "returned"), ("replaced", "return", "returned"),
    *((state, "decommission", "decommissioned") for state in STATES[:-1]),
}  # fmt: skip


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("act", WAYS)
def test_every_way_is_in_the_table_and_no_other(state: State, act: Any) -> None:
    wanted = {then for before, what, then in ALLOWED if (before, what) == (state, act)}
    try:
        assert {follow_way(act, Whereabouts("A-1", state))} == wanted
    except StateRefused as error:
        assert wanted == set()
        assert f"A-1 is {state}" in str(error)


ROWS = [
    Whereabouts("A-1", "installed", "acme", "north-1", "r1", "X 9", "A-0", 5),
    Whereabouts("A-2", "shipped", site="north-1", since_us=6),
    Whereabouts("A-3", "decommissioned", since_us=7),
]


def test_a_tally_does_not_depend_on_the_order_and_sees_every_field() -> None:
    assert len({tally_rows(rows) for rows in permutations(ROWS)}) == 1
    assert tally_rows(ROWS[:2]) != tally_rows(ROWS[1:])
    changes: list[dict[str, Any]] = [
        {"serial": "A-9"}, {"state": "returned"}, {"operator": "x"}, {"site": "x"}, {"rack": "x"}, {"asset": "x"},
        {"link": "x"}, {"since_us": 8},
    ]  # fmt: skip
    first = {name: getattr(ROWS[0], name) for name in Whereabouts.__struct_fields__}
    assert len({Whereabouts(**{**first, **change}).digest for change in changes} | {ROWS[0].digest}) == 9


def test_entries_lead_to_the_tally_of_the_rows() -> None:
    register, issued = Register(), Whereabouts("A-1", "issued")
    shipped = Whereabouts("A-1", "shipped", since_us=1)
    installed = Whereabouts("A-1", "installed", "acme", "north-1", since_us=2)
    gone = Whereabouts("A-1", "decommissioned", "acme", "north-1", since_us=3)
    for seq, (kind, before, then) in enumerate((
        ("device.ship", issued, shipped),
        ("device.install", shipped, installed),
        ("device.decommission", installed, gone),
    )):  # fmt: skip
        facts = list_facts(then, before)
        assert read_facts({**facts, "class": "x", "reason": "y"}) == then
        register.take(kind, seq, facts)
        assert register.tally == tally_rows([then])
    assert (register.gone, register.left) == (register.tally, {"A-1": 2})
    register.take("device.confirm", 3, {"serial": "A-1"})
    register.take("device.batch", 4, {})
    assert (register.tally.count, register.requests) == (1, 1)


def test_putting_in_the_place_of_another_takes_that_away() -> None:
    one, two = ROWS[0].digest, ROWS[1].digest
    assert Tally().put(one).put(two, one) == Tally().put(two)
