import base64
from typing import Any

import pytest

from ceremonies.commands import BATCH_LIMIT, DeviceRequest, DevicesIssued, IssueDevice, IssueDevices, Problem
from tests.api.answers import DEVICE
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
        "nonce": "9f" * 32,
        "lfdi": "",
        "sfdi": "",
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


BATCH = "/v1/work-orders/wo-1/devices"


def item(serial: str = "BMS-1", csr: bytes = b"0\x82") -> dict[str, Any]:
    return {"serial": serial, "csr": base64.b64encode(csr).decode()}


def test_a_batch_is_one_command_and_answers_item_by_item(served: Served, peer: Peer, bearer: dict[str, str]) -> None:
    taken = Problem("serial-taken", "it has another key", "call the supervisor", {"serial": "BMS-2"})
    unheard = Problem("unheard-of", "a secret of the keyroom")
    peer.replies = {IssueDevices: DevicesIssued((DEVICE, taken, unheard))}
    items = [item("BMS-1"), item("BMS-2", b"-----BEGIN"), item("BMS-3")]
    response = served.http.post(BATCH, headers=bearer, json={"requests": items})
    assert response.status_code == 200
    requests = (
        DeviceRequest("BMS-1", b"0\x82"),
        DeviceRequest("BMS-2", b"-----BEGIN"),
        DeviceRequest("BMS-3", b"0\x82"),
    )
    assert [request.command for request in peer.asked] == [IssueDevices("wo-1", requests)]
    device, problem, masked = response.json()["results"]
    peer.replies = {IssueDevice: DEVICE}
    headers = {**bearer, "Content-Type": "application/pkcs10"}
    assert device == served.http.put(URL, headers=headers, content=b"0\x82").json()
    peer.replies = {IssueDevice: taken}
    alone = served.http.put(f"{BATCH}/BMS-2", headers=headers, content=b"0\x82").json()
    assert {**problem, "request": ""} == {**alone, "request": ""}
    assert (masked["code"], masked["status"], "secret" in masked["detail"]) == ("internal-error", 500, False)


@pytest.mark.req("SD-4", "T19")
@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"requests": []}, "fields-invalid"),
        ({"requests": [item()] * (BATCH_LIMIT + 1)}, "fields-invalid"),
        ({"requests": [item("a b")]}, "fields-invalid"),
        ({"requests": [{**item(), "surplus": 1}]}, "fields-invalid"),
        ({"requests": [item(csr=b"")]}, "fields-invalid"),
        ({"requests": [item(csr=bytes((1 << 17) + 1))]}, "fields-invalid"),
        ({"requests": [item(csr=bytes(1 << 16))] * 20}, "body-too-large"),
        ({}, "fields-invalid"),
    ],
)
def test_a_malformed_batch_is_refused_as_a_whole(
    served: Served, peer: Peer, bearer: dict[str, str], body: dict[str, Any], code: str
) -> None:
    response = served.http.post(BATCH, headers=bearer, json=body)
    assert response.json()["code"] == code
    assert peer.asked == []


@pytest.mark.req("SD-4")
def test_a_request_in_a_batch_is_as_large_as_one_alone_may_be(
    served: Served, peer: Peer, bearer: dict[str, str]
) -> None:
    body = {"requests": [item("BMS-1"), item("BMS-2", bytes((1 << 14) + 1))]}
    response = served.http.post(BATCH, headers=bearer, json=body)
    assert (response.status_code, response.json()["detail"]) == (413, "the request of BMS-2 is over 16384 bytes")
    assert peer.asked == []
