from ceremonies import commands
from tests.api.answers import DIGEST
from tests.api.conftest import Served
from tests.api.peer import Peer


def test_boxes_and_grants_are_listed(served: Served, peer: Peer, bearer: dict[str, str]) -> None:
    shown = served.http.get("/v1/grants", headers=bearer).json()
    assert shown["boxes"][0]["checkpoint"] == "graz/journal\n54\n"
    assert shown["grants"][0]["used"] == 5
    assert served.http.get("/v1/grants").status_code == 401


def test_a_box_is_settled_by_its_parts(served: Served, peer: Peer, bearer: dict[str, str]) -> None:
    url, parts = "/v1/boxes/graz-box-ca/settlements", [DIGEST, "ab" * 32]
    shown = served.http.post(url, json={"parts": parts, "dry_run": True}, headers=bearer).json()
    assert (shown["alarm"], shown["findings"][0]["code"]) == (True, "overuse")
    assert [request.command for request in peer.asked] == [commands.SettleBox("graz-box-ca", tuple(parts), True)]
    assert served.http.post(url, json={"parts": []}, headers=bearer).status_code == 422


def test_certificates_that_were_seen_are_judged(served: Served, peer: Peer, bearer: dict[str, str]) -> None:
    body = {"certificates": ["MIIB"]}
    shown = served.http.post("/v1/boxes/strays", json=body, headers=bearer).json()
    assert shown["verdicts"][0]["state"] == "known"
    assert [request.command for request in peer.asked] == [commands.FindStrays((b"0\x82\x01",))]
