import csv
import io

import msgspec
import pytest

from ceremonies.commands import ListWorkOrders, ReportUnits, ShowWorkOrder, UnitShown, UnitsReported
from tests.api.answers import ORDER, UNITS
from tests.api.conftest import Served
from tests.api.peer import Peer

URL = "/v1/work-orders/wo-1"


def test_figures_are_those_of_the_keyroom(served: Served, peer: Peer, bearer: dict[str, str]) -> None:
    wanted = msgspec.to_builtins(ORDER)
    del wanted["type"]
    wanted |= {"lines": ["line-1"], "stations": []}
    assert served.http.get(URL, headers=bearer).json() == wanted
    assert served.http.get("/v1/work-orders", headers=bearer).json() == {"work_orders": [wanted]}
    assert [request.command for request in peer.asked] == [ShowWorkOrder("wo-1"), ListWorkOrders()]


def test_a_report_as_json(served: Served, peer: Peer, bearer: dict[str, str]) -> None:
    response = served.http.get(f"{URL}/report?state=unconfirmed&after=BMS-0&limit=2", headers=bearer)
    assert [unit["serial"] for unit in response.json()["units"]] == ["BMS-1", "BMS-2"]
    assert response.json()["following"] == ""
    assert [request.command for request in peer.asked] == [ReportUnits("wo-1", "BMS-0", "unconfirmed", 2)]


@pytest.mark.req("T37")
def test_a_report_as_csv_that_no_spreadsheet_executes(served: Served, peer: Peer, bearer: dict[str, str]) -> None:
    hostile = msgspec.structs.replace(UNITS[0], serial="=1+1", state="@SUM", ueid="-1", certificate="+1")
    peer.replies = {ReportUnits: UnitsReported("wo-1", (*UNITS, hostile), "")}
    response = served.http.get(f"{URL}/report?format=csv", headers=bearer)
    assert response.headers["content-type"] == "text/csv; charset=utf-8; header=present"
    assert response.headers["content-disposition"] == 'attachment; filename="wo-1.csv"'
    assert "link" not in response.headers
    first, second, third = csv.DictReader(io.StringIO(response.text, newline=""))
    assert (first["serial"], first["confirmed"], first["scrapped"], first["replaced"]) == ("BMS-1", "420", "", "")
    assert second["replaced"] == " ".join(UNITS[1].replaced)
    assert (third["serial"], third["state"], third["ueid"], third["certificate"]) == ("'=1+1", "'@SUM", "'-1", "'+1")


def test_pages_of_csv_follow_each_other(served: Served, peer: Peer, bearer: dict[str, str]) -> None:
    def reply(command: ReportUnits) -> UnitsReported:
        unit: UnitShown = UNITS[1] if command.after else UNITS[0]
        return UnitsReported("wo-1", (unit,), "" if command.after else unit.serial)

    peer.replies = {ReportUnits: reply}
    first = served.http.get(f"{URL}/report?format=csv&limit=1&state=confirmed", headers=bearer)
    link = first.headers["link"]
    assert link == f'<{URL}/report?after=BMS-1&state=confirmed&limit=1&format=csv>; rel="next"'
    second = served.http.get(first.links["next"]["url"], headers=bearer)
    rows = list(csv.DictReader(io.StringIO(first.text + second.text, newline="")))
    assert [row["serial"] for row in rows] == ["BMS-1", "BMS-2"]
    assert "link" not in second.headers


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "state=built", "after=a%20b", "format=pdf", "surplus=1"])
def test_odd_questions_are_refused(served: Served, peer: Peer, bearer: dict[str, str], query: str) -> None:
    response = served.http.get(f"{URL}/report?{query}", headers=bearer)
    assert (response.status_code, response.json()["code"]) == (422, "fields-invalid")
    assert peer.asked == []
