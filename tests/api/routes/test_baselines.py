from tests.api.answers import SEALED
from tests.api.conftest import Served
from tests.api.peer import Peer


def test_the_newest_baseline_comes_with_its_proof(served: Served, peer: Peer, bearer: dict[str, str]) -> None:
    shown = served.http.get("/v1/baselines/latest", headers=bearer).json()
    assert (shown["name"], shown["proven"]["index"]) == (SEALED.name, 417)
    assert served.http.get("/v1/baselines/latest").status_code == 401
    assert len(peer.asked) == 1
