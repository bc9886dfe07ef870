import pytest

from ceremonies.commands import Command, PermitRework, Problem, ScrapDevice
from tests.api.conftest import Served
from tests.api.peer import Peer

URL = "/v1/work-orders/wo-1/devices/BMS-1"


@pytest.mark.parametrize(
    ("what", "command", "status", "index"),
    [
        ("rework", PermitRework("wo-1", "BMS-1", "dropped"), 201, 421),
        ("scrap", ScrapDevice("wo-1", "BMS-1", "dropped"), 200, 422),
    ],
)
def test_what_a_supervisor_says_is_one_command(
    served: Served, peer: Peer, bearer: dict[str, str], what: str, command: Command, status: int, index: int
) -> None:
    response = served.http.post(f"{URL}/{what}", headers=bearer, json={"reason": "dropped"})
    assert (response.status_code, response.json()["index"]) == (status, index)
    assert [request.command for request in peer.asked] == [command]


@pytest.mark.parametrize("body", [{}, {"reason": ""}, {"reason": "x" * 257}, {"reason": "x", "surplus": 1}])
def test_a_reason_is_needed(served: Served, peer: Peer, bearer: dict[str, str], body: dict[str, object]) -> None:
    for what in ("rework", "scrap"):
        response = served.http.post(f"{URL}/{what}", headers=bearer, json=body)
        assert (response.status_code, response.json()["code"]) == (422, "fields-invalid")
    assert peer.asked == []


def test_no_permits_are_left(served: Served, peer: Peer, bearer: dict[str, str]) -> None:
    peer.replies = {PermitRework: Problem("rework-exhausted", "wo-1 allows 2 reworked units", "ask for another order")}
    response = served.http.post(f"{URL}/rework", headers=bearer, json={"reason": "x"})
    assert (response.status_code, response.json()["code"]) == (409, "rework-exhausted")
