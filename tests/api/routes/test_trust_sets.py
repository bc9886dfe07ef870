import pytest

from ceremonies.commands import DocumentsListed, ListTrustSets
from tests.api.conftest import Served
from tests.api.peer import Peer


def test_chain_starts_where_the_device_is(served: Served, peer: Peer) -> None:
    response = served.http.get("/v1/trust-sets?start=65")
    assert [request.command for request in peer.asked] == [ListTrustSets(65)]
    assert [row["name"] for row in response.json()["documents"]] == ["set-0-0", "set-0-1"]
    assert response.json()["documents"][1]["document"] == "0oE="


@pytest.mark.usefixtures("peer")
@pytest.mark.parametrize("accept", ["application/cose", "application/cose;q=0.9, application/json;q=0.1"])
def test_latest_comes_as_its_bytes(served: Served, accept: str) -> None:
    response = served.http.get("/v1/trust-sets/latest", headers={"Accept": accept})
    assert (response.headers["Content-Type"], response.content) == ("application/cose", b"\xd2\x81")
    assert response.headers["Vary"] == "Accept"


@pytest.mark.usefixtures("peer")
def test_latest_comes_as_json_otherwise(served: Served) -> None:
    response = served.http.get("/v1/trust-sets/latest")
    assert response.json() == {"name": "set-0-1", "digest": "bb" * 32, "document": "0oE="}


def test_before_genesis_there_is_none(served: Served, peer: Peer) -> None:
    peer.replies = {ListTrustSets: DocumentsListed(())}
    response = served.http.get("/v1/trust-sets/latest")
    assert (response.status_code, response.json()["code"]) == (404, "nothing-there")


@pytest.mark.parametrize("start", ["-1", "x", "1.5", str(1 << 53)])
def test_odd_index_is_refused(served: Served, peer: Peer, start: str) -> None:
    assert served.http.get(f"/v1/trust-sets?start={start}").status_code == 422
    assert peer.asked == []
