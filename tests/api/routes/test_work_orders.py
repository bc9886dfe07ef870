import pytest

from ceremonies.commands import IssueDevice, Problem
from tests.api.conftest import Served
from tests.api.peer import Peer

URL = "/v1/work-orders/wo-1/devices/BMS-1"


@pytest.mark.parametrize("media_type", ["application/pkcs10", "application/x-pem-file; charset=us-ascii"])
def test_csr_reaches_the_keyroom_as_it_is(served: Served, peer: Peer, bearer: dict[str, str], media_type: str) -> None:
    response = served.http.put(URL, headers={**bearer, "Content-Type": media_type}, content=b"\x30\x00\xff\n")
    assert response.status_code == 200
    assert [request.command for request in peer.asked] == [IssueDevice("wo-1", "BMS-1", b"\x30\x00\xff\n")]
    assert response.json() == {
        "serial": "BMS-1",
        "certificate": "-----BEGIN CERTIFICATE-----\n",
        "chain": "chain\n",
        "ueid": "01ab",
        "replayed": False,
        "proven": {"index": 417, "entry": '{"seq":417}', "proof": "c2sp.org/tlog-proof@v1\nindex 417\n"},
        "trust_set": None,
        "birth_package": None,
    }


@pytest.mark.parametrize("name", ["a b", "%0A", "a%0A", "..%2Fb", "ä", "a" * 65, ".hidden"])
def test_odd_serials_are_refused(served: Served, peer: Peer, bearer: dict[str, str], name: str) -> None:
    headers = {**bearer, "Content-Type": "application/pkcs10"}
    response = served.http.put(f"/v1/work-orders/wo-1/devices/{name}", headers=headers, content=b"x")
    assert response.status_code in (404, 422)
    assert peer.asked == []


def test_refusal_reaches_the_person_on_the_line(served: Served, peer: Peer, bearer: dict[str, str]) -> None:
    peer.replies = {IssueDevice: Problem("quota-exhausted", "work order wo-1 is exhausted", "call the supervisor")}
    response = served.http.put(URL, headers={**bearer, "Content-Type": "application/pkcs10"}, content=b"x")
    assert response.status_code == 409
    assert (response.json()["detail"], response.json()["hint"]) == (
        "work order wo-1 is exhausted",
        "call the supervisor",
    )
