from base64 import b64encode

from ceremonies.commands import SignRelease
from tests.api.answers import DIGEST, KEYED, RELEASE
from tests.api.conftest import Served
from tests.api.peer import Peer


def test_key_and_body_make_one_command(served: Served, peer: Peer, bearer: dict[str, str]) -> None:
    response = served.http.post("/v1/releases", headers={**bearer, **KEYED}, json={**RELEASE, "sbom": DIGEST})
    assert response.status_code == 201
    wanted = SignRelease("build-417", "bms-stm32h7", "stable", "2.3.0", 7, DIGEST, sbom=DIGEST)
    assert [request.command for request in peer.asked] == [wanted]
    assert response.json()["image"] == b64encode(b"\x3d\xb8").decode()
    assert response.json()["manifest_proven"]["index"] == 417
