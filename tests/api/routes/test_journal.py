from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.errors import NothingThere
from api.routes.journal import check_index
from ceremonies.commands import ExportJournal, ExportParty, ReadTile, SummarizeJournal
from pki.log.tiles import Tile
from tests.api.conftest import Served
from tests.api.peer import Peer

Publish = Callable[[str, bytes], Path]


@pytest.fixture
def publish(down: Served) -> Publish:
    def write(name: str, data: bytes) -> Path:
        path = down.settings.public_dir / "journal" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    return write


def test_checkpoint_stays_up_without_the_keyroom(down: Served, publish: Publish) -> None:
    publish("checkpoint", b"kedge.example/journal\n1\nAA==\n")
    response = down.http.get("/journal/checkpoint")
    assert (response.status_code, response.text) == (200, "kedge.example/journal\n1\nAA==\n")
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert response.headers["Cache-Control"] == "public, max-age=2"


@pytest.mark.parametrize("path", ["0/000", "1/x001/234", "0/000.p/5", "0/x001/x234/067.p/255", "63/000.p/1"])
def test_hash_tiles_stay_up_without_the_keyroom(down: Served, publish: Publish, path: str) -> None:
    publish(f"tile/{path}", bytes(32))
    response = down.http.get(f"/journal/tile/{path}")
    assert (response.status_code, response.content) == (200, bytes(32))
    assert response.headers["Content-Type"] == "application/octet-stream"
    assert "immutable" in response.headers["Cache-Control"]


@pytest.mark.req("T24")
@pytest.mark.parametrize(
    "path",
    ["0/../../secret", "0/%2e%2e/%2e%2e/secret", "..%2f..%2fsecret", "0/000.p/0", "0/000.p/256", "0/000.p/05", "0/0000",
     "64/000", "00/000", "-1/000", "0/x001", "0/001/234", "0//000", "0/000/", "0/000%00", "0/000%0a",
     "0/%D9%A0%D9%A0%D9%A0",
     "0/" + "x000/" * 12 + "000", "0/000.p/5.p/5", "0//etc/passwd"],
)  # fmt: skip
def test_other_paths_lead_nowhere(down: Served, publish: Publish, path: str) -> None:
    publish("tile/0/000", bytes(32))
    (down.settings.public_dir / "secret").write_text("secret")
    url = httpx.URL(down.url).copy_with(raw_path=f"/journal/tile/{path}".encode())
    response = down.http.get(url)
    assert response.status_code == 404
    assert "secret" not in response.text.replace(path, "").replace("/journal/secret", "").replace("/secret", "")


def test_link_out_of_the_public_directory_is_not_followed(down: Served, publish: Publish, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    publish("tile/0/001", b"").unlink()
    (down.settings.public_dir / "journal/tile/0/001").symlink_to(secret)
    assert down.http.get("/journal/tile/0/001").status_code == 404


@pytest.mark.req("AU-5", "T36")
def test_entries_are_not_among_the_static_files(served: Served, peer: Peer, bearer: dict[str, str]) -> None:
    stray = served.settings.public_dir / "journal/tile/entries/000"
    stray.parent.mkdir(parents=True)
    stray.write_bytes(b"entries")
    assert served.http.get("/journal/tile/entries/000").status_code == 401
    response = served.http.get("/journal/tile/entries/000", headers=bearer)
    assert response.content == b"\x00\x02{}"
    assert response.headers["Cache-Control"] == "private, no-store"
    assert [request.command for request in peer.asked] == [ReadTile("tile/entries/000")]


def test_export_passes_its_cursor(served: Served, peer: Peer, bearer: dict[str, str]) -> None:
    response = served.http.get("/v1/journal/export?size=418&cursor=tile%2F0%2F000", headers=bearer)
    assert [request.command for request in peer.asked] == [ExportJournal(418, "tile/0/000")]
    assert response.json() == {
        "size": 418,
        "files": [{"path": "checkpoint", "data": "a2VkZ2UuZXhhbXBsZS9qb3VybmFsCg=="}],
        "cursor": "tile/0/000",
    }


@given(st.integers(0, 2**40), st.integers(1, 256))
def test_every_tile_of_a_journal_has_a_path_that_is_served(index: int, width: int) -> None:
    path = Tile(0, index, width).path.removeprefix("tile/0/")
    assert check_index(path) == path


@given(st.text(alphabet="x0123456789/.p\n", max_size=24))
def test_every_path_that_is_served_stays_below_its_directory(index: str) -> None:
    try:
        path = Path("/root/tile/0") / check_index(index)
    except NothingThere:
        return
    assert path.is_relative_to("/root/tile/0")
    assert ".." not in path.parts
    assert path.as_posix() == f"/root/tile/0/{index}"


@pytest.mark.req("AU-10")
def test_increments_parties_and_summaries_reach_the_keyroom(served: Served, peer: Peer, bearer: dict[str, str]) -> None:
    root = "ab" * 32
    served.http.get(f"/v1/journal/export?since=290&root={root}", headers=bearer)
    served.http.get("/v1/journal/party", params={"kind": "change", "name": "CHG 7/2026"}, headers=bearer)
    assert served.http.get("/v1/journal/summary", headers=bearer).json()["proven"]["index"] == 417
    assert [request.command for request in peer.asked] == [
        ExportJournal(0, "", 290, root),
        ExportParty("change", "CHG 7/2026"),
        SummarizeJournal(),
    ]
    for bad in ({"kind": "officer", "name": "ada"}, {"kind": "device", "name": ""}, {"kind": "device"}):
        assert served.http.get("/v1/journal/party", params=bad, headers=bearer).status_code == 422
    assert served.http.get("/v1/journal/export?since=290&root=xyz", headers=bearer).status_code == 422
