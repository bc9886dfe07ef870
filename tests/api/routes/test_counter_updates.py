from ceremonies.commands import DocumentsListed, ListCounterUpdates
from tests.api.conftest import Served
from tests.api.peer import Peer


def test_updates_are_listed_oldest_first(served: Served, peer: Peer) -> None:
    peer.replies = {ListCounterUpdates: DocumentsListed((("counter-update-1", "aa" * 32, b"\xd2"),))}
    row = {"name": "counter-update-1", "digest": "aa" * 32, "document": "0g=="}
    assert served.http.get("/v1/counter-updates").json() == {"documents": [row]}
