import pytest

from ceremonies.commands import OpenChallenge, SubmitReceipts
from tests.api.answers import KEYED
from tests.api.conftest import Served
from tests.api.peer import Peer


def test_receipts_travel_together(served: Served, peer: Peer, bearer: dict[str, str]) -> None:
    response = served.http.post("/v1/receipts", headers=bearer, json={"receipts": ["0oA=", "0oE="]})
    assert response.json() == {"verdicts": ["", "nonce-unknown"], "index": 12}
    assert [request.command for request in peer.asked] == [SubmitReceipts((b"\xd2\x80", b"\xd2\x81"))]


@pytest.mark.parametrize("receipts", [[], ["0oA="] * 1001, ["A" * 21848], [1], "0oA="], ids=range(5))
def test_receipts_have_limits(served: Served, peer: Peer, bearer: dict[str, str], receipts: object) -> None:
    assert served.http.post("/v1/receipts", headers=bearer, json={"receipts": receipts}).status_code == 422
    assert peer.asked == []


def test_challenge_is_a_sealed_document(served: Served, peer: Peer, bearer: dict[str, str]) -> None:
    body = {"campaign": "AAECAwQFBgcICQoLDA0ODw=="}
    response = served.http.post("/v1/receipts/challenges", headers={**bearer, **KEYED}, json=body)
    assert response.status_code == 201
    assert [request.command for request in peer.asked] == [OpenChallenge("build-417", bytes(range(16)))]
    assert response.json()["document"] == "0oQ="


@pytest.mark.parametrize("campaign", ["", "AAECAwQFBgcICQoLDA0O", "AAECAwQFBgcICQoLDA0ODxA="])
def test_campaign_has_16_bytes(served: Served, peer: Peer, bearer: dict[str, str], campaign: str) -> None:
    response = served.http.post("/v1/receipts/challenges", headers={**bearer, **KEYED}, json={"campaign": campaign})
    assert response.status_code == 422
    assert peer.asked == []
