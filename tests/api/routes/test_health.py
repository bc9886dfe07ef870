import msgspec

from ceremonies.commands import Problem, ShowHealth
from tests.api.answers import HEALTH
from tests.api.conftest import Served
from tests.api.peer import Peer


def test_process_is_up_without_the_keyroom(down: Served) -> None:
    assert down.http.get("/healthz").json() == {"status": "up"}
    assert down.http.get("/readyz").status_code == 503


def test_readiness_says_what_is_wrong(served: Served, peer: Peer) -> None:
    assert served.http.get("/readyz").status_code == 200
    peer.replies = {ShowHealth: msgspec.structs.replace(HEALTH, ready=False, problems=("clock behind the journal",))}
    response = served.http.get("/readyz")
    assert (response.status_code, response.headers["Retry-After"]) == (503, "5")
    assert response.json()["problems"] == ["clock behind the journal"]


def test_metrics_have_both_processes(served: Served, peer: Peer) -> None:
    text = served.http.get("/metrics").text
    assert "kedge_keyroom_sealed_total 7.0" in text
    assert 'kedge_api_requests_total{method="GET",route="/readyz"' in text
    assert "kedge_keyroom_ready 1.0" in text
    peer.replies = {ShowHealth: Problem("internal-error", "x")}
    assert "kedge_keyroom_up 0.0" in served.http.get("/metrics").text


def test_metrics_survive_the_keyroom(down: Served) -> None:
    response = down.http.get("/metrics")
    assert response.status_code == 200
    assert "kedge_keyroom_up 0.0" in response.text


def test_unknown_paths_make_no_series(served: Served) -> None:
    for number in range(20):
        served.http.get(f"/nowhere-{number}")
    text = served.http.get("/metrics").text
    assert "nowhere" not in text
    assert 'route="unknown",status="404"' in text
