import csv
import io
import json
from pathlib import Path

import pytest

from ceremonies import commands
from ceremonies.commands import ReportUnits, UnitsReported
from tests.api.answers import UNITS
from tests.api.cli.running import answer, kedge, refusal
from tests.api.conftest import TOKEN, Served
from tests.api.peer import Peer


@pytest.fixture
def web(served: Served, tmp_path: Path) -> list[str]:
    """The beginning of a command line."""
    (tmp_path / "token").write_text(TOKEN)
    return ["work-order", "--url", served.url, "--token-file", str(tmp_path / "token")]


def page_by_page(command: ReportUnits) -> UnitsReported:
    """Two pages of one unit each."""
    return UnitsReported("wo-1", (UNITS[1 if command.after else 0],), "" if command.after else UNITS[0].serial)


def test_list_and_show(web: list[str], peer: Peer) -> None:
    assert answer(*web, "list")["work_orders"][0]["confirmed"] == 1
    head, row = kedge(*web, "list").stdout.splitlines()
    assert (head.split()[0], row.split()[:4]) == ("order", ["wo-1", "bms-stm32h7", "graz", "open"])
    assert answer(*web, "show", "wo-1")["remaining"] == 17
    told = kedge(*web, "show", "wo-1").stdout
    assert "wo-1" in told.splitlines()[0]
    assert "line-1" in told
    assert {type(request.command) for request in peer.asked} == {commands.ListWorkOrders, commands.ShowWorkOrder}


def test_report_reads_every_page(web: list[str], peer: Peer) -> None:
    peer.replies = {ReportUnits: page_by_page}
    assert [unit["serial"] for unit in answer(*web, "report", "wo-1")["units"]] == ["BMS-1", "BMS-2"]
    head, first, second = kedge(*web, "report", "wo-1", "--state", "unconfirmed").stdout.splitlines()
    assert head.split()[:3] == ["serial", "state", "issued"]
    assert first.split()[:5] == ["BMS-1", "confirmed", "417", "420", "-"]
    assert second.split()[5] == "2"
    assert {request.command.state for request in peer.asked[2:] if isinstance(request.command, ReportUnits)} == {
        "unconfirmed"
    }


def test_report_as_csv(web: list[str], peer: Peer, tmp_path: Path) -> None:
    peer.replies = {ReportUnits: page_by_page}
    file = tmp_path / "wo-1.csv"
    assert answer(*web, "report", "wo-1", "--format", "csv", "--out", file) == {"file": str(file)}
    rows = list(csv.DictReader(io.StringIO(file.read_text(), newline="")))
    assert [row["serial"] for row in rows] == ["BMS-1", "BMS-2"]
    assert kedge(*web, "report", "wo-1", "--format", "csv").stdout.splitlines() == file.read_text().splitlines()
    assert refusal(*web, "report", "wo-1", "--out", file) == "file-refused"


def test_rework_and_scrap(web: list[str], peer: Peer) -> None:
    assert answer(*web, "rework", "wo-1", "BMS-1", "--reason", "dropped")["index"] == 421
    assert "entry 421) is open; 1 left" in kedge(*web, "rework", "wo-1", "BMS-1", "--reason", "dropped").stdout
    assert answer(*web, "scrap", "wo-1", "BMS-1", "--reason", "dropped")["index"] == 422
    assert [request.command for request in peer.asked[1:]] == [
        commands.PermitRework("wo-1", "BMS-1", "dropped"), commands.ScrapDevice("wo-1", "BMS-1", "dropped"),
    ]  # fmt: skip
    peer.replies = {commands.ScrapDevice: commands.DeviceScrapped("wo-1", "BMS-1", 422, replayed=True)}
    assert "scrapped before" in kedge(*web, "scrap", "wo-1", "BMS-1", "--reason", "x").stdout
    peer.replies = {commands.PermitRework: commands.Problem("rework-exhausted", "wo-1 allows 2")}
    assert refusal(*web, "rework", "wo-1", "BMS-1", "--reason", "x") == "rework-exhausted"


def test_close_proposes_a_ceremony(web: list[str], peer: Peer) -> None:
    answer(*web, "close", "wo-1", "--reason", "done", "--excuse", "BMS-2", "--excuse", "BMS-3", "--chg", "CHG-7")
    (command,) = [request.command for request in peer.asked]
    assert isinstance(command, commands.OpenCeremony)
    assert (command.id, command.action, command.chg) == ("close-wo-1", "work-order-close", "CHG-7")
    assert json.loads(command.plan) == {"work_order": "wo-1", "excused": ["BMS-2", "BMS-3"], "reason": "done"}
