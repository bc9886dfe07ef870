"""Values from elsewhere as lines on a terminal."""

from collections.abc import Iterator
from typing import Any


def flatten(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """JSON as lines (path, value), so that nothing hides in the layout. Bytes are hex."""
    if isinstance(value, dict) and value:
        for name in value:
            yield from flatten(value[name], f"{path}.{name}" if path else name)
    elif isinstance(value, list) and value:
        for index, item in enumerate(value):
            yield from flatten(item, f"{path}[{index}]")
    elif isinstance(value, bytes):
        yield path, value.hex() or "(empty)"
    else:
        yield path, escape(value if isinstance(value, str) else repr(value))


def escape(text: str) -> str:
    """Text without characters that move a terminal's cursor or turn the reading direction."""
    return "".join(char if char.isprintable() or char == " " else f"\\u{ord(char):04x}" for char in text)
