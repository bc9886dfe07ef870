import base64
from typing import Any

import pytest

from ceremonies.commands import (
    BATCH_LIMIT,
    Confirmation,
    ConfirmDevice,
    ConfirmDevices,
    DeviceConfirmed,
    DevicesConfirmed,
    Problem,
)
from tests.api.answers import CONFIRMATION, DIGEST
from tests.api.conftest import Served
from tests.api.peer import Peer

URL = "/v1/work-orders/wo-1/devices/BMS-1/confirmation"
BATCH = "/v1/work-orders/wo-1/confirmations"
SIGNATURE = base64.b64decode(CONFIRMATION["signature"])


def item(**fields: Any) -> dict[str, Any]:
    return {"serial": "BMS-1", **CONFIRMATION, **fields}


def test_a_confirmation_is_one_command(served: Served, peer: Peer, bearer: dict[str, str]) -> None:
    response = served.http.post(URL, headers=bearer, json=CONFIRMATION)
    assert (response.status_code, response.json()) == (200, {"serial": "BMS-1", "index": 420, "replayed": False})
    assert [request.command for request in peer.asked] == [ConfirmDevice("wo-1", "BMS-1", DIGEST, SIGNATURE)]


@pytest.mark.parametrize(
    ("code", "status"),
    [("chain-mismatch", 409), ("confirmation-invalid", 422), ("device-unknown", 404), ("unit-scrapped", 409)],
)
def test_a_refusal_says_what_to_do(served: Served, peer: Peer, bearer: dict[str, str], code: str, status: int) -> None:
    peer.replies = {ConfirmDevice: Problem(code, "no", "quarantine the unit")}
    response = served.http.post(URL, headers=bearer, json=CONFIRMATION)
    assert (response.status_code, response.json()["hint"]) == (status, "quarantine the unit")


def test_a_batch_is_one_command_and_answers_item_by_item(served: Served, peer: Peer, bearer: dict[str, str]) -> None:
    answers = (DeviceConfirmed("BMS-1", 7, replayed=True), Problem("chain-mismatch", "no", "write it again"))
    peer.replies = {ConfirmDevices: DevicesConfirmed(answers)}
    response = served.http.post(BATCH, headers=bearer, json={"confirmations": [item(), item(serial="BMS-2")]})
    items = tuple(Confirmation(serial, DIGEST, SIGNATURE) for serial in ("BMS-1", "BMS-2"))
    assert [request.command for request in peer.asked] == [ConfirmDevices("wo-1", items)]
    confirmed, problem = response.json()["results"]
    assert confirmed == {"serial": "BMS-1", "index": 7, "replayed": True}
    assert (problem["code"], problem["status"], problem["instance"]) == ("chain-mismatch", 409, f"{BATCH}/BMS-2")


@pytest.mark.req("SD-4", "T19")
@pytest.mark.parametrize(
    "body",
    [
        {"confirmations": []},
        {"confirmations": [item()] * (BATCH_LIMIT + 1)},
        {"confirmations": [item(serial="a b")]},
        {"confirmations": [item(signature="")]},
        {"confirmations": [item(chain_sha256="0" * 63)]},
        {"confirmations": [item(surplus=1)]},
        {},
    ],
)
def test_a_malformed_batch_is_refused_as_a_whole(
    served: Served, peer: Peer, bearer: dict[str, str], body: dict[str, Any]
) -> None:
    response = served.http.post(BATCH, headers=bearer, json=body)
    assert (response.status_code, response.json()["code"]) == (422, "fields-invalid")
    assert peer.asked == []


def test_a_whole_batch_fits_the_limits_of_bodies_and_frames(served: Served, peer: Peer, bearer: dict[str, str]) -> None:
    signature = base64.b64encode(bytes(72)).decode()
    items = [item(serial="S" * 64, signature=signature)] * BATCH_LIMIT
    peer.replies = {ConfirmDevices: DevicesConfirmed((DeviceConfirmed("S" * 64, 7, replayed=False),) * BATCH_LIMIT)}
    assert served.http.post(BATCH, headers=bearer, json={"confirmations": items}).status_code == 200
    (asked,) = peer.asked
    assert isinstance(asked.command, ConfirmDevices)
    assert len(asked.command.items) == BATCH_LIMIT
