import pytest

from ceremonies.commands import ListEvents
from tests.api.conftest import Served
from tests.api.peer import Peer


def test_events_from_an_index_on(served: Served, peer: Peer, bearer: dict[str, str]) -> None:
    found = served.http.get("/v1/events?start=83&limit=1", headers=bearer).json()
    assert [request.command for request in peer.asked] == [ListEvents(83, 1)]
    assert (found["following"], found["size"]) == (84, 84)
    (event,) = found["events"]
    assert event == {
        "index": 83, "time": "2026-11-22T19:44:09.338312Z", "type": "key.sign.outcome", "severity": "info", "v": 1,
        "kind": "certificate.idevid", "status": "ok", "change": "CHG-7", "keys": ["device-ca"],
        "asset": {"serial": "BMS-1", "class": "bms-stm32h7", "plant": "graz", "work_order": "wo-1"},
    }  # fmt: skip


@pytest.mark.parametrize("query", ["start=-1", "start=x", "limit=0", "limit=501"])
def test_limits(served: Served, peer: Peer, bearer: dict[str, str], query: str) -> None:
    assert served.http.get(f"/v1/events?{query}", headers=bearer).status_code == 422
    assert peer.asked == []
