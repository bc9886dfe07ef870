from ceremonies.commands import ReadDocument
from tests.api.answers import DIGEST
from tests.api.conftest import Served
from tests.api.peer import Peer


def test_document_comes_with_entry_and_proof(served: Served, peer: Peer, bearer: dict[str, str]) -> None:
    response = served.http.get(f"/v1/documents/{DIGEST}", headers=bearer)
    assert [request.command for request in peer.asked] == [ReadDocument(DIGEST)]
    assert response.json()["document"] == "0oQ="
    assert response.json()["proven"]["entry"] == '{"seq":417}'
