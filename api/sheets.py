"""CSV that no spreadsheet executes: RFC 4180, every value quoted, formulas defused."""

import csv
import io
from collections.abc import Iterable
from typing import Final

MEDIA_TYPE: Final = "text/csv; charset=utf-8; header=present"
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def write_line(values: Iterable[object]) -> str:
    """One line. A value that a spreadsheet would take for a formula gets an apostrophe in front; None is empty."""
    out = io.StringIO()
    texts = ("" if value is None else str(value) for value in values)
    csv.writer(out, quoting=csv.QUOTE_ALL).writerow(
        [f"'{text}" if text.startswith(_FORMULA) else text for text in texts]
    )
    return out.getvalue()
