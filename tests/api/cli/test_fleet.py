import csv
import io
import json
from pathlib import Path

import msgspec
import pytest

from ceremonies import commands
from tests.api.answers import FLEET
from tests.api.cli.running import answer, kedge
from tests.api.conftest import TOKEN, Served
from tests.api.peer import Peer


@pytest.fixture
def web(served: Served, tmp_path: Path) -> list[str]:
    (tmp_path / "token").write_text(TOKEN)
    return ["fleet", "--url", served.url, "--token-file", str(tmp_path / "token")]


@pytest.mark.parametrize(
    ("arguments", "items"),
    [
        (["ship", "A-1", "A-2"], (commands.Ship("A-1"), commands.Ship("A-2"))),
        (
            ["install", "A-1", "operator=acme", "site=north-1", "asset=A 7"],
            (commands.Install("A-1", "acme", "north-1", "", "A 7"),),
        ),
        (["move", "A-1", "site=north-2", "rack=r9"], (commands.Move("A-1", "north-2", "r9"),)),
        (["replace", "A-1", "--by", "A-2"], (commands.Replace("A-1", "A-2"),)),
        (["return", "A-1", "--reason", "fan"], (commands.Return("A-1", "fan"),)),
        (["decommission", "A-1", "--reason", "fire"], (commands.Decommission("A-1", "fire"),)),
    ],
)
def test_a_verb_is_a_statement(web: list[str], peer: Peer, arguments: list[str], items: tuple[object, ...]) -> None:
    assert answer(*web, *arguments, "--id", "request-1")["id"] == "request-1"
    assert [request.command for request in peer.asked] == [commands.RecordStatements("request-1", items)]  # type: ignore[arg-type]  # the table's items are statements


def test_what_was_refused_is_told_and_fails(web: list[str], peer: Peer) -> None:
    verdict = commands.StatementVerdict("A-1", "issued", "state-refused", "A-1 is issued")
    peer.replies = {commands.RecordStatements: commands.StatementsRecorded((verdict,), 3, False)}
    assert kedge(*web, "ship", "A-1").exit_code == 1
    assert kedge(*web, "move", "A-1", "plant=x").exit_code == 2
    assert kedge(*web, "move", "A-1", "site=x", "site=y").exit_code == 2


def test_query_asks_for_every_page(web: list[str], peer: Peer) -> None:
    def reply(command: commands.QueryFleet) -> commands.FleetQueried:
        return msgspec.structs.replace(FLEET, following="" if command.after else "BMS-1")

    peer.replies = {commands.QueryFleet: reply}
    filters = ["class=bms-stm32h7", "firmware-below=2.4.0", "floor-below=3", "floor-domain=2", "silent-since=9"]
    shown = answer(*web, "query", *filters, "--off-baseline")
    assert [device["serial"] for device in shown["devices"]] == ["BMS-1", "BMS-1"]
    first = commands.QueryFleet(
        class_name="bms-stm32h7", firmware_below="2.4.0", floor_below=3, silent_since=9, off_baseline=True
    )
    asked = [request.command for request in peer.asked]
    assert asked == [first, msgspec.structs.replace(first, after="BMS-1")]


@pytest.mark.req("T37")
def test_a_spreadsheet_runs_nothing(web: list[str], peer: Peer) -> None:
    result = kedge(*web, "query", "--csv")
    (row,) = csv.DictReader(io.StringIO(result.stdout))
    assert (row["serial"], row["rack"], row["heard"]) == ("BMS-1", "'=cmd", "7")
    assert "hornsea-1" in kedge(*web, "query", "site=hornsea-1").stdout


def test_an_import_is_looked_at_and_then_proposed(web: list[str], peer: Peer, tmp_path: Path) -> None:
    file = tmp_path / "fleet.csv"
    file.write_text("act,serial\n")
    assert answer(*web, "import", str(file), "--dry-run")["acts"] == {"ship": 2}
    kinds = [type(request.command) for request in peer.asked]
    assert kinds == [commands.Upload, commands.CheckImport]
    answer(*web, "import", str(file), "--ceremony", "import-1", "--reason", "first")
    opened = peer.asked[-1].command
    assert isinstance(opened, commands.OpenCeremony)
    assert (opened.action, json.loads(opened.plan)["reason"]) == ("register-import", "first")
    bad = commands.ImportChecked({}, (commands.BadLine(2, "8 cells"),), 1)
    peer.replies = {**peer.replies, commands.CheckImport: bad}
    peer.asked.clear()
    assert kedge(*web, "import", str(file), "--ceremony", "import-2").exit_code == 1
    assert commands.OpenCeremony not in {type(request.command) for request in peer.asked}
