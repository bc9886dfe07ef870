import asyncio
import hashlib
import hmac
import http.server
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ceremonies.events import describe_alarm
from ceremonies.settings import FeedPlace, SettingsInvalid
from ceremonies.sinks import FileSink, SinkFailed, SyslogSink, WebhookSink, authenticate, open_sink
from tests.ceremonies.certificates import make_tls

EVENTS = [describe_alarm("token main", "gone", raised=True, size=index, now_us=0) for index in (1, 2)]
SECRET = b"s" * 32


class Hook(http.server.BaseHTTPRequestHandler):
    """Remembers what was posted; answers as the server says."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server: Any = self.server
        server.posted.append((dict(self.headers), body))
        self.send_response(server.status)
        self.send_header("Location", "https://127.0.0.1:1/")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Be quiet."""


@pytest.fixture
def hook(tmp_path: Path) -> Iterator[tuple[Any, str, ssl.SSLContext]]:
    """A receiver with TLS on loopback, its URL, and a context that believes it."""
    certificate, key = make_tls(tmp_path)
    server: Any = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    server.posted, server.status = [], 204
    inside = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    inside.load_cert_chain(certificate, key)
    server.socket = inside.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server, f"https://127.0.0.1:{server.server_address[1]}/events", ssl.create_default_context(cafile=certificate)
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_file_gets_json_lines_and_is_opened_anew(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    sink = FileSink(path)
    asyncio.run(sink.deliver(EVENTS))
    assert [json.loads(line)["index"] for line in path.read_text().splitlines()] == [1, 2]
    assert path.stat().st_mode & 0o007 == 0
    path.rename(tmp_path / "events.1")
    asyncio.run(sink.deliver(EVENTS[:1]))
    assert len(path.read_text().splitlines()) == 1


def test_half_a_line_of_a_crash_stays_alone(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"index":1,"ti')
    asyncio.run(FileSink(path).deliver(EVENTS))
    assert path.read_text().splitlines()[0] == '{"index":1,"ti'
    assert [json.loads(line)["index"] for line in path.read_text().splitlines()[1:]] == [1, 2]


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for path in (tmp_path, tmp_path / "none" / "events", tmp_path / "link"):
        with pytest.raises(SinkFailed, match=str(path)):
            asyncio.run(FileSink(path).deliver(EVENTS))


def test_syslog_over_udp_is_rfc_5424() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.settimeout(5)
        asyncio.run(SyslogSink(listening.getsockname(), "keyroom-1").deliver(EVENTS))
        first = listening.recv(65536).decode()
    head, body = first[: first.index("{")], first[first.index("{") :]
    assert head.startswith("<82>1 1970-01-01T00:00:00.000000Z keyroom-1 kedge ")
    assert head.endswith(" alarm - ")
    assert json.loads(body)["alarm"] == "token"


def test_syslog_over_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "log")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(path)
        listening.settimeout(5)
        asyncio.run(SyslogSink(path, "keyroom-1").deliver(EVENTS))
        assert listening.recv(65536).startswith(b"<82>kedge: {")
    with pytest.raises(SinkFailed, match="syslog"):
        asyncio.run(SyslogSink(path, "keyroom-1").deliver(EVENTS))


def test_a_web_hook_is_authenticated(hook: tuple[Any, str, ssl.SSLContext]) -> None:
    server, url, context = hook
    asyncio.run(WebhookSink(url, SECRET, context, lambda: 1700).deliver(EVENTS))
    ((headers, body),) = server.posted
    tag = hmac.new(SECRET, b"1700." + body, hashlib.sha256).hexdigest()
    assert headers["Kedge-Signature"] == f"t=1700,v1={tag}" == authenticate(SECRET, 1700, body)
    assert headers["Content-Type"] == "application/x-ndjson"
    assert len(body.splitlines()) == 2


@pytest.mark.parametrize("status", [301, 400, 500])
def test_only_2xx_takes_a_batch(hook: tuple[Any, str, ssl.SSLContext], status: int) -> None:
    server, url, context = hook
    server.status = status
    with pytest.raises(SinkFailed, match=f"answered {status}"):
        asyncio.run(WebhookSink(url, SECRET, context, lambda: 1).deliver(EVENTS))
    assert len(server.posted) == 1


def test_a_receiver_that_cannot_show_who_it_is_gets_nothing(hook: tuple[Any, str, ssl.SSLContext]) -> None:
    server, url, _ = hook
    with pytest.raises(SinkFailed, match="away"):
        asyncio.run(WebhookSink(url, SECRET, ssl.create_default_context(), lambda: 1).deliver(EVENTS))
    assert server.posted == []


@pytest.mark.parametrize(
    "to",
    ["file:", "http://example.com/x", "https://user:pw@example.com/x", "https:///x", "syslog+udp://host", "ftp://x",
     "syslog+udp://host:999999", "https://example.com/#x"],
)  # fmt: skip
def test_other_places_are_refused(tmp_path: Path, to: str) -> None:
    (tmp_path / "secret").write_bytes(SECRET)
    (tmp_path / "secret").chmod(0o400)
    with pytest.raises(SettingsInvalid, match="feed siem"):
        open_sink(FeedPlace("siem", to, tmp_path / "secret"), "n", lambda: 0)


def test_each_kind_of_place(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET)
    secret.chmod(0o400)

    def kind(to: str) -> type:
        return type(open_sink(FeedPlace("siem", to, secret), "n", lambda: 0))

    assert kind("file:/var/log/x") is FileSink
    assert kind("syslog:/dev/log") is kind("syslog+udp://127.0.0.1:514") is SyslogSink
    assert kind("https://siem.example/in") is WebhookSink


@pytest.mark.parametrize(("content", "mode"), [(b"short", 0o400), (b"s" * 32, 0o440), (b"s" * 5000, 0o400), (None, 0)])
def test_secrets_that_are_none(tmp_path: Path, content: bytes | None, mode: int) -> None:
    secret = tmp_path / "secret"
    if content is not None:
        secret.write_bytes(content)
        secret.chmod(mode)
    with pytest.raises(SettingsInvalid) as refused:
        open_sink(FeedPlace("siem", "https://siem.example/in", secret), "n", lambda: 0)
    assert "s" * 32 not in str(refused.value)
    with pytest.raises(SettingsInvalid, match="no secret_file"):
        open_sink(FeedPlace("siem", "https://siem.example/in"), "n", lambda: 0)
