import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from api.cli.errors import FileRefused
from api.cli.serve import read_settings
from tests.api.cli.running import ROOT, refusal


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("serve")


@pytest.fixture(scope="module")
def url(place: Path) -> Iterator[str]:
    """`kedge serve` as a program, without a keyroom."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--socket", str(place / "s"), "--public", str(place), "--port", str(port)]
    command = [sys.executable, "-m", "api.cli.main", "serve", *options]
    environment = {**os.environ, "KEDGE_API_HEAD_TIME": "1"}
    with (
        (place / "log").open("wb") as log,
        subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT) as child,
    ):
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and child.poll() is None:
            try:
                httpx.get(url + "/healthz")
                break
            except httpx.ConnectError:
                time.sleep(0.05)
        try:
            yield url
        finally:
            child.send_signal(signal.SIGTERM)
            assert child.wait(30) == 0 or child.returncode == -signal.SIGTERM


def test_program_serves_and_logs_json_without_banners(url: str, place: Path) -> None:
    response = httpx.get(url + "/healthz", headers={"Authorization": "Bearer secret-token"})
    assert response.json() == {"status": "up"}
    assert "server" not in response.headers
    assert httpx.get(url + "/readyz").status_code == 503
    assert httpx.get(url + "/healthz", headers={"X-Large": "x" * 100_000}).status_code in (400, 431)
    log = (place / "log").read_text()
    assert '"route": "/healthz"' in log
    assert "secret-token" not in log


@pytest.mark.req("SD-4", "T19")
@pytest.mark.parametrize(
    "first", [b"", b"GET /healthz HTTP/1.1\r\n", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HTTP/1.1\r\n"]
)
def test_head_that_never_ends_is_given_up(url: str, first: bytes) -> None:
    port = int(url.rpartition(":")[2])
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(first)
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - begun < 20:
                if select.select([connection], [], [], 0.2)[0] and not connection.recv(65536):
                    break
                connection.sendall(b"X-Drip: 1\r\n" if first else b"")
    assert 0.9 < time.monotonic() - begun < 10


def test_options_win_over_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEDGE_API_PORT", "1")
    monkeypatch.setenv("KEDGE_API_PUBLIC_DIR", "public")
    settings = read_settings({"port": "2", "socket": "s"})
    assert (settings.port, settings.public_dir) == (2, Path("public"))
    assert os.environ["KEDGE_API_PORT"] == "1"


def test_wrong_settings_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEDGE_API_PIN", "0000")
    with pytest.raises(FileRefused, match=r"public_dir: Field required.*pin: Extra inputs"):
        read_settings({"socket": "s"})
    assert refusal("serve") == "file-refused"
