"""CSV that no spreadsheet executes."""

import csv
import io

import pytest

from api.sheets import write_line


@pytest.mark.req("T37")
@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_a_formula_is_text(start: str) -> None:
    (row,) = csv.reader(io.StringIO(write_line([f"{start}HYPERLINK(1)", "S1"]), newline=""))
    assert row == [f"'{start}HYPERLINK(1)", "S1"]


def test_every_value_is_quoted_and_comes_back() -> None:
    values = ['say "no"', "a,b", "two\nlines", "", None, 7]
    line = write_line(values)
    assert line.startswith('"say ""no""","a,b"')
    (row,) = csv.reader(io.StringIO(line, newline=""))
    assert row == ['say "no"', "a,b", "two\nlines", "", "", "7"]
