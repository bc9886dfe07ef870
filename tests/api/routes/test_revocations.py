from typing import Any

import pytest

from ceremonies.commands import PreviewRevocation, Problem, RevokeCertificate, ShowCertificate
from tests.api.answers import DIGEST
from tests.api.conftest import Served
from tests.api.peer import Peer

BODY = {"serial": "BMS-1", "reason": "keyCompromise", "why": "stolen"}


@pytest.mark.req("CA-9", "MP-11")
def test_one_request_revokes_a_certificate(served: Served, peer: Peer, bearer: dict[str, str]) -> None:
    response = served.http.post("/v1/revocations", headers=bearer, json=BODY)
    assert (response.status_code, response.json()["status"]) == (201, "revoked")
    body = {"number": "ab12", "reason": "superseded", "why": "x", "dry_run": True}
    served.http.post("/v1/revocations", headers=bearer, json=body)
    assert [request.command for request in peer.asked] == [
        RevokeCertificate("BMS-1", "", "keyCompromise", "stolen"),
        RevokeCertificate("", "ab12", "superseded", "x", dry_run=True),
    ]


@pytest.mark.parametrize(
    "fields",
    [{"why": ""}, {"serial": "bms"}, {"number": "XYZ"}, {"reason": ""}, {"reason": "a b"}, {"more": 1}, {"why": None}],
    ids=range(7),
)
def test_bodies_that_are_none(served: Served, peer: Peer, bearer: dict[str, str], fields: dict[str, Any]) -> None:
    assert served.http.post("/v1/revocations", headers=bearer, json=BODY | fields).status_code == 422
    assert peer.asked == []


def test_a_preview_and_a_status(served: Served, peer: Peer, bearer: dict[str, str]) -> None:
    shown = served.http.post("/v1/revocations/preview", headers=bearer, json={"plan": "e30="}).json()
    assert shown == {"count": 2, "revoked": 1, "sha256": DIGEST, "first": ["abab BMS-1"]}
    assert served.http.get("/v1/certificates/status?number=ab", headers=bearer).json()["ca"] == "device-ca"
    assert [request.command for request in peer.asked] == [PreviewRevocation(b"{}"), ShowCertificate("", "ab")]
    peer.replies = {ShowCertificate: Problem("certificate-unknown", "no", "check it")}
    assert served.http.get("/v1/certificates/status?serial=X", headers=bearer).status_code == 404
