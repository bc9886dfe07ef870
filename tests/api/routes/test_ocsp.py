import base64

import pytest
from cryptography.x509 import ocsp

from ceremonies.commands import AskStatus
from pki.x509.ocsp import LIMIT
from tests.api.conftest import Served
from tests.api.peer import Peer

TYPE = {"Content-Type": "application/ocsp-request"}


@pytest.mark.req("CA-9")
def test_a_question_by_post_and_by_get(served: Served, peer: Peer) -> None:
    posted = served.http.post("/ocsp", content=b"0\x00", headers=TYPE)
    got = served.http.get("/ocsp/MAA%3D")
    assert (posted.status_code, posted.content, posted.headers["content-type"]) == (
        200, b"0\x03\n\x01\x06", "application/ocsp-response",
    )  # fmt: skip
    assert got.content == posted.content
    assert got.headers["cache-control"] == "public, max-age=60, no-transform, must-revalidate"
    assert [(request.command, request.token) for request in peer.asked] == [(AskStatus(b"0\x00"), "")] * 2


@pytest.mark.req("T25")
@pytest.mark.parametrize(
    "path", ["", "%%%", "a", "MAA%3D%0A", "ü", base64.b64encode(bytes(LIMIT + 1)).decode(), "A" * 5000], ids=range(7)
)
def test_paths_that_are_no_question(served: Served, peer: Peer, path: str) -> None:
    answer = served.http.get(f"/ocsp/{path}")
    assert peer.asked == []
    if answer.status_code == 200:
        read = ocsp.load_der_ocsp_response(answer.content)
        assert read.response_status is ocsp.OCSPResponseStatus.MALFORMED_REQUEST
        assert answer.headers["cache-control"] == "no-store"
    else:
        assert answer.status_code == 404


@pytest.mark.req("T25")
def test_bodies_that_are_no_question(served: Served, peer: Peer) -> None:
    assert served.http.post("/ocsp", content=bytes(LIMIT + 1), headers=TYPE).status_code == 413
    assert served.http.post("/ocsp", content=b"", headers=TYPE).status_code == 400
    assert served.http.post("/ocsp", json={}).status_code == 415
    assert peer.asked == []
