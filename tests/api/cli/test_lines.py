from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from api.cli.lines import escape, flatten


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
