import pytest

from ceremonies.commands import DecideStep, ExecuteStep, OpenCeremony
from tests.api.conftest import Served
from tests.api.peer import Peer


def test_plan_reaches_the_keyroom_byte_for_byte(served: Served, peer: Peer, bearer: dict[str, str]) -> None:
    body = {"id": "rotation-1", "action": "rotate", "plan": "eyAiYSI6MSB9Cg==", "chg": "CHG-1"}
    assert served.http.post("/v1/ceremonies", headers=bearer, json=body).status_code == 201
    assert [request.command for request in peer.asked] == [
        OpenCeremony("rotation-1", "rotate", b'{ "a":1 }\n', "CHG-1")
    ]


@pytest.mark.parametrize("verb", ["approvals", "rejections"])
def test_decision_is_what_was_signed_not_the_url(served: Served, peer: Peer, bearer: dict[str, str], verb: str) -> None:
    url = f"/v1/ceremonies/rotation-1/steps/plan/{verb}"
    assert served.http.post(url, headers=bearer, json={"statement": "e30=", "signature": "c2ln"}).status_code == 200
    assert [request.command for request in peer.asked] == [DecideStep("rotation-1", "plan", b"{}", b"sig")]


def test_execution_has_no_body(served: Served, peer: Peer, bearer: dict[str, str]) -> None:
    assert served.http.post("/v1/ceremonies/rotation-1/steps/plan/execution", headers=bearer).status_code == 200
    assert [request.command for request in peer.asked] == [ExecuteStep("rotation-1", "plan")]


@pytest.mark.usefixtures("peer")
def test_shown_bytes_are_exact(served: Served, bearer: dict[str, str]) -> None:
    shown = served.http.get("/v1/ceremonies/rotation-1", headers=bearer).json()
    assert shown["steps"] == [
        {
            "step": "plan",
            "template": "eyJ0eXBlIjoia2VkZ2UvYXBwcm92YWwvdjEifQ==",
            "shown": "e30=",
            "decisions": [["ada", "approve"]],
            "done": False,
        }
    ]


@pytest.mark.usefixtures("peer")
def test_list_names_its_columns(served: Served, bearer: dict[str, str]) -> None:
    row = {"id": "rotation-1", "action": "rotate", "state": "open", "proposer": "ada"}
    assert served.http.get("/v1/ceremonies", headers=bearer).json() == {"ceremonies": [row]}


@pytest.mark.parametrize("limit", [("statement", 1 << 16), ("signature", 1 << 14)])
def test_decision_has_limits(served: Served, peer: Peer, bearer: dict[str, str], limit: tuple[str, int]) -> None:
    name, size = limit
    body = {"statement": "e30=", "signature": "c2ln", name: "A" * ((size // 3 + 1) * 4)}
    url = "/v1/ceremonies/rotation-1/steps/plan/approvals"
    assert served.http.post(url, headers=bearer, json=body).status_code == 422
    assert peer.asked == []
