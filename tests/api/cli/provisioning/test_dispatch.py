"""Sending what waits: what is written when, and where a run ends."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from api.cli.errors import CliError
from api.cli.provisioning import dispatch as module
from api.cli.provisioning.dispatch import Result, ServiceLeft, dispatch
from api.cli.provisioning.exits import StationStopped
from api.cli.provisioning.logbook import opened, read_logbook
from api.cli.provisioning.service import Service
from tests.api.cli.provisioning.devices import Scripted, Unit, answering, failing, problem

UNITS = [Unit(f"S-{number}") for number in range(5)]


class Run:
    """A logbook with a request of each unit, and a service."""

    def __init__(self, path: Path, *replies: Any) -> None:
        self.path, self.out = path / "logbook", path / "out"
        self.session = Scripted(*replies)
        self.results: list[Result] = []
        if not self.path.exists():
            with opened(self.path) as book:
                book.queue([unit.request(self.out) for unit in UNITS])

    def go(self) -> CliError | None:
        """Send what waits."""
        with opened(self.path) as book:
            return dispatch(book, Service(self.session), self.results.append, 0)

    @property
    def states(self) -> list[str]:
        """Of each request."""
        return [item.state for item in read_logbook(self.path).items.values()]


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH", 2)


def test_everything_goes_in_order(tmp_path: Path) -> None:
    run = Run(tmp_path, *[answering(*UNITS)] * 3)
    assert run.go() is None
    assert run.session.asked == [["S-0", "S-1"], ["S-2", "S-3"], ["S-4"]]
    assert run.states == ["answered"] * 5
    assert [item.state for item in run.results] == ["answered"] * 5
    assert len(list(run.out.iterdir())) == 4 * 5
    assert run.go() is None
    assert len(run.session.asked) == 3


def test_a_refusal_is_kept_and_blocks_nobody(tmp_path: Path) -> None:
    run = Run(tmp_path, *[answering(*UNITS, S_1=problem("serial-taken", 409))] * 3)
    assert run.go() is None
    assert run.states == ["answered", "refused", "answered", "answered", "answered"]
    refusal = read_logbook(run.path).items[2].refusal
    assert refusal is not None
    assert (refusal.code, refusal.detail, refusal.hint) == ("serial-taken", "serial-taken it is", "do something")
    assert [item.code for item in run.results] == ["", "serial-taken", "", "", ""]


def test_the_rest_waits_while_the_service_is_away(tmp_path: Path) -> None:
    run = Run(tmp_path, answering(*UNITS), failing(503, "keyroom-down"))
    assert isinstance(run.go(), ServiceLeft)
    assert run.states == ["answered", "answered", "sent", "sent", "queued"]
    again = Run(tmp_path, *[answering(*UNITS)] * 2)
    assert again.go() is None
    assert again.session.asked == [["S-2", "S-3"], ["S-4"]]
    assert again.states == ["answered"] * 5


def test_a_unit_that_the_service_cannot_do_now_stops_no_other(tmp_path: Path) -> None:
    run = Run(tmp_path, *[answering(*UNITS, S_0=problem("reader-ended", 503))] * 3)
    assert isinstance(run.go(), ServiceLeft)
    assert run.states == ["sent", *["answered"] * 4]
    again = Run(tmp_path, answering(*UNITS))
    assert again.go() is None
    assert again.session.asked == [["S-0"]]


def test_a_suspension_refuses_no_unit(tmp_path: Path) -> None:
    run = Run(tmp_path, answering(*UNITS, S_1=problem("station-suspended", 403)))
    assert isinstance(run.go(), StationStopped)
    assert run.states == ["answered", "sent", "queued", "queued", "queued"]
    assert [item.code for item in run.results] == ["", "station-suspended"]
    whole = Run(tmp_path, failing(403, "station-suspended"))
    assert isinstance(whole.go(), StationStopped)
    assert whole.results == []


def test_a_request_is_written_down_before_it_is_sent(tmp_path: Path) -> None:
    def crash(_: object) -> httpx.Response:
        assert run.states[:2] == ["sent", "sent"]
        raise KeyboardInterrupt

    run = Run(tmp_path, crash)
    with pytest.raises(KeyboardInterrupt):
        run.go()
    assert run.states == ["sent", "sent", "queued", "queued", "queued"]


def test_an_answer_counts_when_its_files_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    run = Run(tmp_path, answering(*UNITS))
    monkeypatch.setattr(module, "write_device", crash)
    with pytest.raises(KeyboardInterrupt):
        run.go()
    assert run.states[:2] == ["sent", "sent"]


def test_what_cannot_be_written_waits(tmp_path: Path) -> None:
    run = Run(tmp_path, *[answering(*UNITS, S_3=UNITS[4].device)] * 3)
    run.out.mkdir()
    (run.out / "S-0.crt.pem").write_text("another certificate")
    assert run.go() is None
    assert run.states == ["sent", "answered", "answered", "refused", "answered"]
    assert [item.code for item in run.results] == ["answer-in-the-way", "", "", "answer-mismatch", ""]
    assert (run.out / "S-0.crt.pem").read_text() == "another certificate"
    (run.out / "S-0.crt.pem").unlink()
    again = Run(tmp_path, answering(*UNITS))
    assert again.go() is None
    assert again.states[0] == "answered"
