import pytest

from ceremonies.commands import Problem, Upload
from tests.api.answers import DIGEST
from tests.api.conftest import Served
from tests.api.peer import Peer


@pytest.mark.parametrize("name", ["9f", DIGEST.upper(), DIGEST + "0", "g" * 64, DIGEST + "%0A"])
def test_name_must_be_a_digest(served: Served, peer: Peer, bearer: dict[str, str], name: str) -> None:
    headers = {**bearer, "Content-Type": "application/octet-stream"}
    assert served.http.put(f"/v1/artefacts/{name}", headers=headers, content=b"x").status_code in (404, 422)
    assert peer.asked == []


def test_upload_stops_where_the_keyroom_refuses(served: Served, peer: Peer, bearer: dict[str, str]) -> None:
    peer.replies = {Upload: Problem("role-refused", "role station may not ask this")}
    headers = {**bearer, "Content-Type": "application/octet-stream"}
    response = served.http.put(f"/v1/artefacts/{DIGEST}", headers=headers, content=bytes(8 << 20))
    assert response.status_code == 403
    assert len(peer.asked) == 1
