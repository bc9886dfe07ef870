"""A run as people and programs see it: a bar while it lasts, a line for each unit, and how it ended."""

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from api.cli.errors import CliError
from api.cli.lines import align
from api.cli.provisioning.dispatch import Result, ServiceLeft
from api.cli.provisioning.exits import QUARANTINE, UnitsQuarantined, UnitsQueued, UnitsRefused
from api.cli.session import Session

LONG: Final = 20
"""From so many units on a bar is worth its line."""


@contextlib.contextmanager
def showing_progress(session: Session, total: int) -> Iterator[Callable[[], None]]:
    """A step for each unit. The bar is drawn on standard error when that is a terminal, for long batches only."""
    console = Console(stderr=True)
    if session.json or total < LONG or not console.is_terminal:
        yield lambda: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("units", total=total)
        yield lambda: progress.advance(task)


def show_results(session: Session, results: Sequence[Result]) -> None:
    """JSON Lines, one for each unit; or a table of what is not done, and a line that counts."""
    if session.json:
        for result in results:
            sys.stdout.write(msgspec.json.encode(result).decode() + "\n")
        return
    open_ones = [result for result in results if result.state != "answered"]
    rows = [(item.serial, name_state(item), item.code, explain(item)) for item in open_ones]
    if rows:
        session.show(None, *align(("serial", "", "code", "why, and what to do"), *rows))
    session.show(None, count_results(results))


def explain(result: Result) -> str:
    """Why, and what to do."""
    return "; ".join(filter(None, (result.detail, result.hint)))


def name_state(result: Result) -> str:
    """A state in one word that is seen."""
    if result.code in QUARANTINE:
        return "QUARANTINE"
    return {"queued": "waits", "sent": "waits", "refused": "REFUSED"}.get(result.state, result.state)


def count_results(results: Sequence[Result]) -> str:
    """The run in one line."""
    done = sum(result.state == "answered" for result in results)
    refused = sum(result.state == "refused" for result in results)
    return f"{done} done, {refused} refused, {len(results) - done - refused} waiting"


def find_ending(results: Sequence[Result], stopped: CliError | None) -> CliError | None:
    """How a run ended, the most urgent first; None when everything is done."""
    said = count_results(results)
    put_aside = [result.serial for result in results if result.code in QUARANTINE]
    if put_aside:
        return UnitsQuarantined(f"{said}; quarantine {', '.join(put_aside[:20])}", hint="docs/factory.md")
    if stopped is not None and not isinstance(stopped, ServiceLeft):
        return stopped
    refused = [result for result in results if result.state == "refused"]
    if refused:
        return UnitsRefused(said, hint=refused[0].hint)
    waiting = [result for result in results if result.state in ("queued", "sent")]
    if not waiting:
        return None
    stuck = [result for result in waiting if result.code not in ("", "service-away")]
    if stuck:
        return UnitsRefused(f"{said}; {stuck[0].code}: {stuck[0].detail}", hint=stuck[0].hint)
    return UnitsQueued(f"{said}{f'; {stopped.message}' if stopped else ''}", hint="`kedge station resume`")
