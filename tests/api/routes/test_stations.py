"""Stations over HTTP."""

import pytest

from ceremonies import commands
from tests.api.answers import DIGEST
from tests.api.conftest import Served
from tests.api.peer import Peer

STATION = {
    "station": "graz-3-a", "state": "enrolled", "plant": "graz", "lines": ["3"], "classes": ["bms-stm32h7"],
    "addresses": [], "key": DIGEST, "not_after": "2026-12-24T00:00:00Z",
}  # fmt: skip


@pytest.mark.usefixtures("peer")
def test_stations_are_listed(served: Served, bearer: dict[str, str]) -> None:
    assert served.http.get("/v1/stations", headers=bearer).json() == {"stations": [STATION]}


STOPS = [("suspension", commands.SuspendStation), ("revocation", commands.RevokeStation)]


@pytest.mark.req("AZ-4")
@pytest.mark.parametrize(("verb", "command"), STOPS)
def test_an_officer_stops_a_station_with_a_reason(
    served: Served, peer: Peer, bearer: dict[str, str], verb: str, command: type
) -> None:
    path = f"/v1/stations/graz-3-a/{verb}"
    assert served.http.post(path, headers=bearer, json={"reason": "stolen"}).status_code == 201
    assert [request.command for request in peer.asked] == [command("graz-3-a", "stolen")]
    assert served.http.post(path, headers=bearer, json={"reason": ""}).status_code == 422


def test_a_station_fetches_its_certificate_without_a_token(served: Served, peer: Peer) -> None:
    headers = {"Content-Type": "application/pkcs10"}
    response = served.http.put("/v1/stations/graz-3-a/certificate", content=b"0\x82", headers=headers)
    assert response.json()["station"] == "graz-3-a"
    assert [(request.command, request.token) for request in peer.asked] == [
        (commands.IssueStation("graz-3-a", b"0\x82"), "")
    ]
