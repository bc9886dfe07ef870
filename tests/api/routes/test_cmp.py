"""CMP over HTTP: media types, sizes, what is answered in the protocol and what as HTTP does."""

import pytest

from ceremonies import commands
from ceremonies.commands import Problem
from pki.cmp.messages import LIMIT, parse_header
from pki.x509.der import SEQUENCE, read_children, read_whole, tags
from tests.api.conftest import Served
from tests.api.peer import Peer
from tests.pki.cmp.vectors import MESSAGES
from tests.pki.cmp.writing import NOBODY, make_cmp_message, make_sender, tag, write_message

PATH = "/.well-known/cmp/p/device-ca"
TYPE = {"Content-Type": "application/pkixcmp"}


@pytest.mark.req("CA-11")
def test_a_message_reaches_the_keyroom_as_it_came(served: Served, peer: Peer) -> None:
    answer = served.http.post(PATH, content=MESSAGES["ir"], headers=TYPE)
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (
        200, b"0\x00", "application/pkixcmp",
    )  # fmt: skip
    (request,) = peer.asked
    assert request.command == commands.TransactCmp("device-ca", MESSAGES["ir"])
    assert (request.token, request.certificate, request.source) == ("", b"", "127.0.0.1")


@pytest.mark.req("CA-11", "T25")
@pytest.mark.parametrize(
    ("code", "bits"),
    [
        ("client-certificate-unknown", "030403000008"),
        ("message-forged", "03020640"),
        ("message-replayed", "030402000004"),
    ],
)
def test_whom_nobody_knows_gets_an_unsigned_error(served: Served, peer: Peer, code: str, bits: str) -> None:
    peer.replies = {commands.TransactCmp: Problem(code, "who?", "enrol")}
    message = make_cmp_message()
    answer = served.http.post(PATH, content=message, headers=TYPE)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/pkixcmp")
    parts = read_children(answer.content, read_whole(answer.content, SEQUENCE))
    assert tags(parts) == [SEQUENCE, 0xB7]
    fields = read_children(answer.content, parts[0])
    assert tags(fields) == [0x02, 0xA4, 0xA4, 0xA4, 0xA6], "in the transaction, without a time, an algorithm or a key"
    assert answer.content[fields[1][1] : fields[1][3]] == NOBODY
    assert f"{code}: who?".encode() in answer.content
    assert parse_header(message).transaction in answer.content
    assert answer.content.hex().endswith(bits)


@pytest.mark.parametrize(
    ("code", "status"),
    [("station-too-fast", 429), ("responder-missing", 503), ("keyroom-busy", 503), ("key-unknown", 404)],
)
def test_a_service_that_is_away_or_full_answers_as_http_does(
    served: Served, peer: Peer, code: str, status: int
) -> None:
    peer.replies = {commands.TransactCmp: Problem(code, "not now", "later", {"retry_after": 7})}
    answer = served.http.post(PATH, content=make_cmp_message(), headers=TYPE)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    if status != 404:
        assert answer.headers["retry-after"] == "7"


@pytest.mark.req("T16", "T19")
@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (MESSAGES["ir"], {"Content-Type": "text/plain"}, 415, "media-type-unsupported"),
        (b"", TYPE, 400, "body-missing"),
        (b"garbage", TYPE, 400, "message-malformed"),
        (MESSAGES["ir"][:-1], TYPE, 400, "message-malformed"),
        (b"\x30\x80" * 1000, TYPE, 400, "message-malformed"),
        (b"\x30\x84\xff\xff\xff\xff", TYPE, 400, "message-malformed"),
        (write_message(make_sender(), tag(21), {-1: b"\x09"}), TYPE, 400, "message-unsupported"),
        (bytes(LIMIT + 1), TYPE, 413, "body-too-large"),
    ],
)
def test_garbage_reaches_nobody(
    served: Served, peer: Peer, body: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    answer = served.http.post(PATH, content=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert peer.asked == []


def test_it_is_only_posted(served: Served) -> None:
    assert served.http.get(PATH).status_code == 405
    assert served.http.post("/.well-known/cmp/p/..%2f", content=b"0", headers=TYPE).status_code in (404, 422)
