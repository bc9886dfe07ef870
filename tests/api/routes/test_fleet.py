from typing import Any

import pytest

from ceremonies import commands
from tests.api.conftest import Served
from tests.api.peer import Peer

KEY = {"Idempotency-Key": "request-1"}


def test_statements_and_filters_reach_the_keyroom(served: Served, peer: Peer, bearer: dict[str, str]) -> None:
    one = {"act": "install", "serial": "A-1", "operator": "acme", "site": "north-1", "rack": "r 1"}
    body = {"statements": [one, {"act": "decommission", "serial": "A-2", "reason": "fire"}]}
    response = served.http.post("/v1/fleet/statements", headers={**bearer, **KEY}, json=body)
    assert response.json()["verdicts"][0] == {
        "serial": "BMS-1",
        "state": "shipped",
        "code": "",
        "message": "",
        "hint": "",
    }
    found = served.http.get(
        "/v1/fleet?class_name=bms&state=issued&set_below=2&off_baseline=true", headers=bearer
    ).json()
    assert (found["devices"][0]["rack"], found["baseline"]) == ("=cmd", 3)
    items = (commands.Install("A-1", "acme", "north-1", "r 1"), commands.Decommission("A-2", "fire"))
    assert [request.command for request in peer.asked] == [
        commands.RecordStatements("request-1", items),
        commands.QueryFleet(class_name="bms", state="issued", set_below=2, off_baseline=True),
    ]


@pytest.mark.req("FS-2")
@pytest.mark.parametrize(
    "statement",
    [
        {"act": "install", "serial": "A-1"},
        {"act": "ship", "serial": "A-1", "reason": "none is taken"},
        {"act": "decommission", "serial": "A-1"},
        {"act": "move", "serial": "A-1", "site": "Not A Site"},
        {"act": "move", "serial": "A-1", "site": "x", "rack": "=cmd|' /C calc'!A0"},
        {"act": "confirm", "serial": "A-1"},
        {"serial": "A-1"},
    ],
)
def test_what_is_no_statement_reaches_nobody(
    served: Served, peer: Peer, bearer: dict[str, str], statement: dict[str, Any]
) -> None:
    good = {"act": "ship", "serial": "A-0"}
    response = served.http.post(
        "/v1/fleet/statements", headers={**bearer, **KEY}, json={"statements": [good, statement]}
    )
    assert (response.status_code, response.json()["code"]) == (422, "fields-invalid")
    assert peer.asked == []


@pytest.mark.parametrize("query", ["state=lost", "limit=0", "limit=1001", "site=A%20B", "firmware_below=x", "other=1"])
def test_filters_have_limits(served: Served, peer: Peer, bearer: dict[str, str], query: str) -> None:
    response = served.http.get(f"/v1/fleet?{query}", headers=bearer)
    assert (response.status_code, peer.asked) == (422, [])
