"""Values from elsewhere as lines on a terminal. Nothing is cut: an officer must tell every name and digest apart."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import Any, Final

WIDTH: Final = 80
NAME_WIDTH: Final = 34


def flatten(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """JSON as lines (path, value), so that nothing hides in the layout. Bytes are hex."""
    if isinstance(value, dict) and value:
        for name in value:
            yield from flatten(value[name], f"{path}.{name}" if path else name)
    elif isinstance(value, list | tuple) and value:
        for index, item in enumerate(value):
            yield from flatten(item, f"{path}[{index}]")
    elif isinstance(value, bytes):
        yield path, value.hex() or "(empty)"
    else:
        yield path, escape(value if isinstance(value, str) else repr(value))


def escape(text: str) -> str:
    """Text without characters that move a terminal's cursor or turn the reading direction."""
    return "".join(char if char.isprintable() or char == " " else f"\\u{ord(char):04x}" for char in text)


def align(*rows: Sequence[str]) -> list[str]:
    """Rows as lines whose columns stand below each other, however long a value is. The first row is the heading."""
    rows = tuple([escape(value) for value in row] for row in rows)
    widths = [max(map(len, column)) for column in zip_longest(*rows, fillvalue="")]
    return ["  ".join(value.ljust(width) for value, width in zip(row, widths, strict=False)).rstrip() for row in rows]


def list_facts(title: str, facts: Iterable[tuple[object, object]]) -> list[str]:
    """A title, then names and values: side by side where there is room, else the value in a line of its own."""
    pairs = [(escape(str(name)), escape(str(value))) for name, value in facts]
    width = max((len(name) for name, _ in pairs if len(name) <= NAME_WIDTH), default=0)
    lines = [escape(title)]
    for name, value in pairs:
        if len(name) <= width and width + len(value) + 4 <= WIDTH:
            lines.append(f"  {name.ljust(width)}  {value}")
        else:
            lines += [f"  {name}", f"      {value}"]
    return [*lines, ""]
