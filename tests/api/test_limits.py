import asyncio
import contextlib
import hashlib
import select
import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send

from api.errors import BodyTooLarge
from api.limits import BodyGuard
from ceremonies import commands
from tests.api.answers import DIGEST, KEYED, RELEASE
from tests.api.conftest import Served
from tests.api.peer import Peer

UPLOAD = f"/v1/artefacts/{DIGEST}"
OCTETS = {"Content-Type": "application/octet-stream"}


@pytest.mark.req("SD-4", "T19")
def test_declared_body_over_the_limit_is_cut_at_once(served: Served, peer: Peer, bearer: dict[str, str]) -> None:
    head = {**bearer, **OCTETS, "Content-Length": str(1 << 30)}
    answer = send_raw(served, "PUT", UPLOAD, head, b"x")
    assert b" 413 " in answer.split(b"\r\n")[0]
    assert b'"body-too-large"' in answer
    assert peer.asked == []


@pytest.mark.req("SD-4", "T19")
def test_undeclared_body_is_cut_at_the_limit(served: Served, peer: Peer, bearer: dict[str, str]) -> None:
    sent = 0

    def pieces() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(1024):  # 1 GiB, if anybody takes it
            sent += 1 << 20
            yield bytes(1 << 20)

    with contextlib.suppress(httpx.WriteError, httpx.RemoteProtocolError):  # closed before the client was done
        assert served.http.put(UPLOAD, headers={**bearer, **OCTETS}, content=pieces()).status_code == 413
    assert sent <= 32 << 20
    assert sum(len(upload.data) for upload in uploads(peer)) <= commands.ARTEFACT_LIMIT
    assert not any(upload.final for upload in uploads(peer))


def uploads(peer: Peer) -> list[commands.Upload]:
    return [request.command for request in peer.asked if isinstance(request.command, commands.Upload)]


@pytest.mark.req("SD-4")
@pytest.mark.parametrize("size", [1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20, commands.ARTEFACT_LIMIT])
def test_artefact_travels_in_chunks(served: Served, peer: Peer, bearer: dict[str, str], size: int) -> None:
    body = hashlib.shake_128(b"image").digest(size)
    response = served.http.put(UPLOAD, headers={**bearer, **OCTETS}, content=body)
    assert (response.status_code, response.json()) == (200, {"digest": DIGEST, "size": size, "complete": True})
    sent = uploads(peer)
    assert b"".join(command.data for command in sent) == body
    assert [command.offset for command in sent] == [index << 20 for index in range(len(sent))]
    assert [command.final for command in sent] == [False] * (len(sent) - 1) + [True]
    assert all(len(command.data) == 1 << 20 for command in sent[:-1])


@pytest.mark.req("SD-4")
@pytest.mark.parametrize(("extra", "status"), [(0, 200), (1, 413)])
def test_csr_has_16_kib(served: Served, peer: Peer, bearer: dict[str, str], extra: int, status: int) -> None:
    headers = {**bearer, "Content-Type": "application/pkcs10"}
    response = served.http.put("/v1/work-orders/wo/devices/B1", headers=headers, content=bytes((1 << 14) + extra))
    assert response.status_code == status
    assert len(peer.asked) == (status == 200)


@pytest.mark.req("SD-4")
@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        (b"", (400, "body-missing")),
        (b"{", (400, "json-malformed")),
        (b'{"id":"a","id":"b"}', (400, "json-malformed")),
        (b'{"a":' + b"[" * 100 + b"]" * 100 + b"}", (400, "json-malformed")),
        (b"[" * 500_000, (400, "json-malformed")),
        (b'{"security_version":1.5}', (400, "json-malformed")),
        (b'{"a":NaN}', (400, "json-malformed")),
        (b"\xff", (400, "json-malformed")),
        (b"[]", (422, "fields-invalid")),
        (b"{}", (422, "fields-invalid")),
        (b" " * (2 << 20), (413, "body-too-large")),
    ],
    ids=range(11),
)
def test_json_bodies_have_one_reading_and_limits(
    served: Served, peer: Peer, bearer: dict[str, str], body: bytes, refusal: tuple[int, str]
) -> None:
    headers = {**bearer, **KEYED, "Content-Type": "application/json"}
    response = served.http.post("/v1/releases", headers=headers, content=body)
    assert (response.status_code, response.json()["code"]) == refusal
    assert peer.asked == []


@pytest.mark.req("FS-2", "SD-4")
@pytest.mark.parametrize(
    "change",
    [
        {"digest": DIGEST},
        {"security_version": "7"},
        {"security_version": -1},
        {"security_version": 1 << 32},
        {"security_version": True},
        {"version": 2},
        {"version": "2.3.0\n"},
        {"class_name": ""},
        {"class_name": "a" * 65},
        {"channel": "../x"},
        {"artefact": DIGEST.upper()},
        {"artefact": DIGEST + "00"},
        {"sbom": ""},
    ],
    ids=str,
)
def test_release_with_an_odd_field_is_refused(
    served: Served, peer: Peer, bearer: dict[str, str], change: dict[str, object]
) -> None:
    response = served.http.post("/v1/releases", headers={**bearer, **KEYED}, json={**RELEASE, **change})
    assert (response.status_code, response.json()["code"]) == (422, "fields-invalid")
    assert peer.asked == []


@pytest.mark.req("FS-2", "T20")
@pytest.mark.parametrize(
    "media_type", ["multipart/form-data; boundary=x", "application/x-www-form-urlencoded", "text/plain", ""]
)
def test_other_media_types_are_refused(served: Served, peer: Peer, bearer: dict[str, str], media_type: str) -> None:
    headers = {**bearer, **KEYED, "Content-Type": media_type}
    for method, url in (("POST", "/v1/releases"), ("PUT", UPLOAD), ("PUT", "/v1/work-orders/wo/devices/B1")):
        response = served.http.request(method, url, headers=headers, content=b"{}")
        assert (response.status_code, response.json()["code"]) == (415, "media-type-unsupported")
    assert peer.asked == []


@pytest.mark.req("SD-4", "T19")
def test_silent_body_is_given_up(served: Served, peer: Peer, bearer: dict[str, str]) -> None:
    begun = time.monotonic()
    answer = send_raw(served, "PUT", UPLOAD, {**bearer, **OCTETS, "Content-Length": "100"}, b"x")
    assert b" 408 " in answer.split(b"\r\n")[0]
    assert time.monotonic() - begun < 5
    assert peer.asked == []


@pytest.mark.req("SD-4", "T19")
def test_dripping_body_is_given_up(served: Served, peer: Peer, bearer: dict[str, str]) -> None:
    begun = time.monotonic()
    head = {**bearer, **OCTETS, "Content-Length": "1000"}
    answer = send_raw(served, "PUT", UPLOAD, head, *[b"x"] * 100, pause=0.1)
    assert b" 408 " in answer.split(b"\r\n")[0]
    assert time.monotonic() - begun < 6
    assert peer.asked == []


@pytest.mark.req("SD-4")
def test_number_of_headers_is_limited(served: Served) -> None:
    headers = [(f"X-{number}", "1") for number in range(100)]
    response = served.http.get("/healthz", headers=headers)
    assert (response.status_code, response.json()["code"]) == (431, "headers-too-large")


@pytest.mark.req("SD-4")
def test_size_of_headers_is_limited(served: Served) -> None:
    response = served.http.get("/healthz", headers={"X-Large": "x" * (33 << 10)})
    assert (response.status_code, response.json()["code"]) == (431, "headers-too-large")


@pytest.mark.req("SD-4")
@pytest.mark.parametrize("key", ["", "short", "a" * 81, "has space here", "-leading-dash", "umlaut-\xfc-key"])
def test_idempotency_key_has_limits(served: Served, peer: Peer, bearer: dict[str, str], key: str) -> None:
    headers = httpx.Headers({**bearer, "Idempotency-Key": key}, encoding="latin-1")
    response = served.http.post("/v1/releases", headers=headers, json=RELEASE)
    assert (response.status_code, response.json()["code"]) == (422, "fields-invalid")
    assert peer.asked == []


def send_raw(
    served: Served, method: str, path: str, headers: dict[str, str], *pieces: bytes, pause: float = 0.0
) -> bytes:
    """Send by hand, so that a body can be slower or shorter than it says; returns all that comes back."""
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    address = urlsplit(served.url)
    with socket.create_connection((address.hostname, address.port or 80), timeout=10) as connection:
        connection.sendall(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{head}\r\n".encode())
        received = b""
        try:
            for piece in pieces:
                connection.sendall(piece)
                if select.select([connection], [], [], pause)[0]:
                    break
            while data := connection.recv(65536):
                received += data
        except ConnectionError:
            pass
        return received


@pytest.mark.req("SD-4")
@pytest.mark.parametrize(("sizes", "fits"), [((10,), True), ((5, 5), True), ((5, 6), False)])
def test_guard_counts_whatever_the_route_does(sizes: tuple[int, ...], fits: bool) -> None:
    pieces = [b"x" * size for size in sizes]
    waiting, seen = list(pieces), bytearray()

    async def receive() -> Message:
        return {"type": "http.request", "body": waiting.pop(0), "more_body": bool(waiting)}

    async def read(_: Scope, take: Receive, __: Send) -> None:
        for _number in sizes:
            seen.extend((await take())["body"])

    async def send(message: Message) -> None:
        raise AssertionError(message)

    scope: Scope = {"type": "http", "path": "/", "headers": []}
    guarded = BodyGuard(read, limit=10, gap=1, total=1)(scope, receive, send)
    if fits:
        asyncio.run(guarded)
        assert bytes(seen) == b"".join(pieces)
    else:
        with pytest.raises(BodyTooLarge):
            asyncio.run(guarded)
        assert bytes(seen) == pieces[0]
