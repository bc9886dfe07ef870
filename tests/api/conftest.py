"""The API as a real server on a free port, with a protocol peer in the keyroom's place."""

import contextlib
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
import structlog
import uvicorn

from api.app import create_app
from api.settings import ApiSettings
from tests.api.answers import REPLIES
from tests.api.peer import Peer, listening

TOKEN = "eyJhbGciOiJFUzI1NiJ9.e30.c2ln"


class Served(NamedTuple):
    """A running API: a client that is nobody yet, its base URL, its settings."""

    http: httpx.Client
    url: str
    settings: ApiSettings


@contextlib.contextmanager
def serving(settings: ApiSettings) -> Iterator[Served]:
    """Run uvicorn in a thread until the block ends."""
    config = uvicorn.Config(create_app(settings), port=0, log_config=None, proxy_headers=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.005)
    url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    try:
        with httpx.Client(base_url=url, timeout=20) as http:
            yield Served(http, url, settings)
    finally:
        server.should_exit = True
        thread.join(10)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """The API in this process keeps its log to itself: standard output belongs to the command line under test."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory(), cache_logger_on_first_use=False)
    yield
    structlog.reset_defaults()


def make_settings(directory: Path) -> ApiSettings:
    """Settings with nothing behind them yet, and short patience."""
    return ApiSettings(socket=directory / "keyroom.sock", public_dir=directory / "public", body_gap=0.5, body_time=1.5)


@pytest.fixture
def settings(tmp_path: Path) -> ApiSettings:
    """Settings of a test's own."""
    return make_settings(tmp_path)


@pytest.fixture(scope="module")
def lonely(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One API without a keyroom for the tests of a file."""
    with serving(make_settings(tmp_path_factory.mktemp("lonely"))) as running:
        yield running


@pytest.fixture
def down(lonely: Served) -> Served:
    """The API while the keyroom is down, without static files."""
    shutil.rmtree(lonely.settings.public_dir, ignore_errors=True)
    return lonely


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, Peer]]:
    """One API with its peer for the tests of a file."""
    settings = make_settings(tmp_path_factory.mktemp("api"))
    with listening(Peer(settings.socket)) as peer, serving(settings) as running:
        yield running, peer


@pytest.fixture
def served(shared: tuple[Served, Peer]) -> Served:
    """The API, without static files."""
    running, _ = shared
    shutil.rmtree(running.settings.public_dir, ignore_errors=True)
    return running


@pytest.fixture
def peer(shared: tuple[Served, Peer]) -> Peer:
    """The protocol peer; it was asked nothing yet, and has the answers of tests.api.answers."""
    _, running = shared
    running.replies, running.asked = dict(REPLIES), []
    return running


@pytest.fixture
def bearer() -> dict[str, str]:
    """A header with a token; only the keyroom could say what it is worth."""
    return {"Authorization": f"Bearer {TOKEN}"}
