from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from api.cli.lines import NAME_WIDTH, align, escape, flatten, list_facts


@given(st.text())
def test_escaped_text_moves_no_cursor(text: str) -> None:
    assert escape(text).isprintable()


@given(
    st.recursive(
        st.integers() | st.text() | st.booleans(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_every_leaf_has_a_line(value: Any) -> None:
    def count(item: Any) -> int:
        parts = item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
        return sum(map(count, parts)) or 1

    assert len(list(flatten(value))) == count(value)


@given(st.lists(st.lists(st.text(), min_size=3, max_size=3), min_size=1, max_size=5))
def test_columns_hold_every_value_whole(rows: list[list[str]]) -> None:
    lines = align(*rows)
    assert len(lines) == len(rows)
    for line, row in zip(lines, rows, strict=True):
        assert all(escape(value).rstrip() in line for value in row)


def test_columns_stand_below_each_other() -> None:
    assert align(("id", "state"), ("rotation-1", "open"), ("b", "")) == ["id          state", "rotation-1  open", "b"]


@given(st.lists(st.tuples(st.text(), st.text())))
def test_facts_hold_every_name_and_value_whole(facts: list[tuple[str, str]]) -> None:
    text = "\n".join(list_facts("Facts", facts))
    assert all(escape(part) in text for fact in facts for part in fact)


def test_a_digest_stands_in_one_line_of_eighty() -> None:
    digest, long = "9f" * 32, "n" * (NAME_WIDTH + 1)
    lines = list_facts("", [("short", digest), (f"{'n' * NAME_WIDTH}", digest), (long, "1")])
    assert [line.strip() for line in lines if digest in line] == [digest, digest]
    assert max(map(len, lines)) <= 80
    assert lines[-3:-1] == [f"  {long}", "      1"]
