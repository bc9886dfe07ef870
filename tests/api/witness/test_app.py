"""The witness by HTTP (c2sp.org/tlog-witness)."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from api.witness.records import origin_hash
from pki.log.notes import parse_vkey
from pki.log.witnesses import MAX_SUBMISSION, read_cosignature
from tests.pki.log.building import ORIGIN
from tests.witnessing import SmallLog, make_notary, serving

HONEST = SmallLog(20)


@pytest.fixture
def http(tmp_path: Path) -> Iterator[httpx.Client]:
    with serving(make_notary(tmp_path)) as url, httpx.Client(base_url=url) as client:
        yield client


@pytest.mark.req("T26", "AU-11")
def test_the_protocol(http: httpx.Client) -> None:
    vkey = parse_vkey(http.get("/healthz").text.strip())
    where = f"/{origin_hash(ORIGIN)}/checkpoint"
    assert http.get(where).status_code == 404
    done = http.post("/add-checkpoint", content=HONEST.submit(0, 9))
    assert (done.status_code, done.headers["content-type"]) == (200, "text/plain; charset=utf-8")
    line, _ = read_cosignature(HONEST.note(9), done.content, vkey)
    assert http.get(where).content == HONEST.note(9) + line
    behind = http.post("/add-checkpoint", content=HONEST.submit(5, 12))
    assert (behind.status_code, behind.headers["content-type"], behind.text) == (409, "text/x.tlog.size", "9\n")
    assert http.post("/add-checkpoint", content=SmallLog(20, b"fork").submit(9, 12)).status_code == 422
    assert http.post("/add-checkpoint", content=b"junk").status_code == 400


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/add-checkpoint", 405),
        ("GET", f"/{'0' * 64}/checkpoint", 404),
        ("GET", f"/{'g' * 64}/checkpoint", 422),
        ("GET", "/../../etc/passwd/checkpoint", 404),
        ("GET", "/openapi.json", 404),
        ("GET", "/", 404),
    ],
)
def test_other_paths(http: httpx.Client, method: str, path: str, status: int) -> None:
    assert http.request(method, path).status_code == status


def test_a_large_body_is_cut(http: httpx.Client) -> None:
    assert http.post("/add-checkpoint", content=b"x" * (MAX_SUBMISSION + 1)).status_code == 413
