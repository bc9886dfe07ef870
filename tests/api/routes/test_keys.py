import pytest

from ceremonies.commands import SuspendKey
from tests.api.answers import DIGEST
from tests.api.conftest import Served
from tests.api.peer import Peer

KEY = {
    "label": "image-app-1",
    "role": "image-app",
    "scope": "bms-stm32h7",
    "algorithm": "p256",
    "state": "active",
    "spki": DIGEST,
    "uses": 3,
    "public_key": "MFk=",
    "standing": "",
}


@pytest.mark.usefixtures("peer")
def test_keys_are_listed_without_secrets(served: Served, bearer: dict[str, str]) -> None:
    assert served.http.get("/v1/keys", headers=bearer).json() == {"keys": [KEY]}


@pytest.mark.req("KL-9", "MP-11")
def test_one_request_stops_a_key(served: Served, peer: Peer, bearer: dict[str, str]) -> None:
    response = served.http.post("/v1/keys/image-app-1/suspension", headers=bearer, json={"reason": "stolen"})
    assert response.status_code == 201
    assert [request.command for request in peer.asked] == [SuspendKey("image-app-1", "stolen")]


@pytest.mark.parametrize(
    "body", [{}, {"reason": ""}, {"reason": "x" * 257}, {"reason": "x", "until": "x"}], ids=range(4)
)
def test_reason_is_needed(served: Served, peer: Peer, bearer: dict[str, str], body: object) -> None:
    assert served.http.post("/v1/keys/image-app-1/suspension", headers=bearer, json=body).status_code == 422
    assert peer.asked == []
