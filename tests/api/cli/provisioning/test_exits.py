"""Exit statuses: fixed, told in the help and on the page."""

import re
from pathlib import Path

import pytest

from api.cli.errors import AWAY, CONSISTENT, CliError
from api.cli.provisioning import exits, logbook
from api.cli.provisioning.exits import MEANING, QUARANTINE, Exit, judge_refusal
from tests.api.cli.running import kedge

PAGE = (Path(__file__).parents[4] / "docs" / "factory.md").read_text(encoding="utf-8")


def test_the_numbers_never_change() -> None:
    assert {status.name: int(status) for status in Exit} == {
        "DONE": 0, "FAILED": 1, "USAGE": 2, "QUEUED": 4, "REFUSED": 5, "QUARANTINE": 6, "NOT_AUTHORISED": 7,
        "SUSPENDED": 8, "LOGBOOK": 9,
    }  # fmt: skip
    assert int(Exit.QUEUED) == AWAY
    assert CONSISTENT not in set(map(int, Exit))


def test_each_is_told_in_the_help_and_on_the_page() -> None:
    shown = kedge("station", "--help").output
    for status, meaning in MEANING.items():
        assert f"{int(status)}  {meaning}" in shown
        assert f"| {int(status)} |" in PAGE
    assert set(MEANING) == set(Exit)


def test_what_the_page_has_put_aside_ends_with_that_status() -> None:
    rows = [line.split("|") for line in PAGE.splitlines() if line.startswith("| `")]
    aside = {code for row in rows if "uarantine the unit" in row[3] for code in re.findall("`([a-z-]+)`", row[1])}
    assert {"key-known", "element-taken"} <= aside <= QUARANTINE
    (told,) = [line for line in PAGE.splitlines() if line.startswith("| 6 |")]
    assert set(re.findall("`([a-z-]+)`", told)) == QUARANTINE


def test_every_error_ends_with_a_status_of_the_table() -> None:
    errors = [item for module in (exits, logbook) for item in vars(module).values() if isinstance(item, type)]
    statuses = {item.status for item in errors if issubclass(item, CliError) and item is not CliError}
    assert statuses == {Exit.FAILED, *(status for status in Exit if status > Exit.USAGE)}


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (403, "station-suspended", Exit.SUSPENDED), (401, "station-revoked", Exit.SUSPENDED),
        (401, "client-certificate-expired", Exit.NOT_AUTHORISED), (401, "token-expired", Exit.NOT_AUTHORISED),
        (403, "address-refused", Exit.NOT_AUTHORISED), (403, "role-refused", Exit.NOT_AUTHORISED),
        (404, "route-unknown", Exit.FAILED), (404, "http-404", Exit.FAILED), (405, "method-not-allowed", Exit.FAILED),
        (403, "binding-mismatch", None), (409, "key-known", None), (404, "work-order-unknown", None),
    ],
)  # fmt: skip
def test_what_is_said_of_the_station_and_what_of_a_unit(status: int, code: str, expected: Exit | None) -> None:
    refusal = judge_refusal(status, code, "no")
    assert (refusal and refusal.status) == expected
