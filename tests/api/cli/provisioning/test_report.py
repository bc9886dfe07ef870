"""How a run ended, in the order of urgency; and what people see of it."""

import io
import json
from typing import Any

import pytest
from rich.console import Console

from api.cli.errors import CliError
from api.cli.provisioning import report
from api.cli.provisioning.dispatch import Result, ServiceLeft
from api.cli.provisioning.exits import Exit, StationStopped
from api.cli.provisioning.report import find_ending, show_results, showing_progress
from api.cli.session import Session

DONE = Result("S1", "wo-1", "issue", "answered")
REFUSED = Result("S2", "wo-1", "issue", "refused", "serial-taken", "taken", "call the supervisor")
CLONED = Result("S3", "wo-1", "issue", "refused", "key-known", "known", "quarantine")
WAITS = Result("S4", "wo-1", "issue", "queued")
STUCK = Result("S5", "wo-1", "issue", "sent", "answer-in-the-way", "there")
AWAY, STOPPED = ServiceLeft("no route"), StationStopped("station-suspended: no")


@pytest.mark.parametrize(
    ("results", "stopped", "status"),
    [
        ([DONE], None, None),
        ([], None, None),
        ([DONE, WAITS], AWAY, Exit.QUEUED),
        ([DONE, REFUSED], None, Exit.REFUSED),
        ([DONE, REFUSED, WAITS], AWAY, Exit.REFUSED),
        ([DONE, STUCK], None, Exit.REFUSED),
        ([REFUSED, WAITS], STOPPED, Exit.SUSPENDED),
        ([REFUSED, CLONED, WAITS], STOPPED, Exit.QUARANTINE),
    ],
)
def test_the_most_urgent_is_the_status(results: list[Result], stopped: CliError | None, status: Exit | None) -> None:
    ending = find_ending(results, stopped)
    assert (ending and ending.status) == status


def test_what_is_to_be_put_aside_is_named() -> None:
    ending = find_ending([DONE, CLONED], None)
    assert ending is not None
    assert ending.message == "1 done, 1 refused, 0 waiting; quarantine S3"


def show(results: list[Result], *, json: bool) -> str:
    session = Session(json=json, console=Console(file=io.StringIO(), width=200))
    show_results(session, results)
    file: Any = session.console.file
    return str(file.getvalue())


def test_people_see_what_is_not_done(capsys: pytest.CaptureFixture[str]) -> None:
    shown = show([DONE, REFUSED, CLONED, WAITS], json=False)
    assert "S2      REFUSED     serial-taken  taken; call the supervisor" in shown
    assert "S3      QUARANTINE" in shown
    assert "S4      waits" in shown
    assert "1 done, 2 refused, 1 waiting" in shown
    assert "S1" not in shown
    assert show([DONE], json=False).strip() == "1 done, 0 refused, 0 waiting"
    assert show([DONE, REFUSED], json=True) == ""
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        {"serial": "S1", "work_order": "wo-1", "act": "issue", "state": "answered"},
        {
            "serial": "S2", "work_order": "wo-1", "act": "issue", "state": "refused", "code": "serial-taken",
            "detail": "taken", "hint": "call the supervisor",
        },
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("total", "terminal", "as_json", "drawn"),
    [(50, True, False, True), (5, True, False, False), (50, False, False, False), (50, True, True, False)],
)
def test_a_bar_for_long_batches_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, total: int, terminal: bool, as_json: bool, drawn: bool
) -> None:
    screen = io.StringIO()
    made = Console(file=screen, force_terminal=terminal, width=100)
    monkeypatch.setattr(report, "Console", lambda **_: made)
    with showing_progress(Session(json=as_json), total) as step:
        for _ in range(total):
            step()
    assert (f"{total}/{total}" in screen.getvalue()) is drawn
    if not drawn:
        assert screen.getvalue() == ""
