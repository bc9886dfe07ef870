"""Asking one witness: every answer that it may give, true or not."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import httpx
import msgspec
import pytest

from api.witness.app import create_witness
from ceremonies.settings import KeyroomSettings, SettingsInvalid
from ceremonies.submissions import (
    Head,
    Peer,
    WitnessContradicts,
    WitnessFailed,
    ask_witness,
    list_peers,
    open_client,
    read_peer,
    read_witnesses,
    trust_authorities,
)
from pki.log.policy import parse_policy
from pki.log.witnesses import MAX_ANSWER, read_cosignature
from tests.pki.log.building import WITNESSES
from tests.witnessing import SmallLog, make_notary
from tests.world import soft_world

LOG = SmallLog(40)
VKEY = WITNESSES[0].public.encode()
SIZE = "text/x.tlog.size"


async def prove(old: int, new: int) -> tuple[bytes, ...]:
    return LOG.tree.consistency_proof(old, new)


def ask(transport: httpx.AsyncBaseTransport, peer: Peer, old: int, new: int) -> bytes:
    async def run() -> bytes:
        async with httpx.AsyncClient(transport=transport) as client:
            return await ask_witness(client, peer, old, Head(new, LOG.note(new)), prove)

    return asyncio.run(run())


@pytest.mark.req("T26", "AU-11")
def test_a_real_witness_cosigns_from_where_it_is(tmp_path: Path) -> None:
    notary = make_notary(tmp_path)
    transport, peer = httpx.ASGITransport(create_witness(notary)), Peer("w1", notary.vkey, "http://witness")
    for old, new in ((0, 9), (9, 12), (0, 20), (15, 30), (30, 30)):
        line = ask(transport, peer, old, new)
        assert read_cosignature(LOG.note(new), line, notary.vkey)[0] == line
    with pytest.raises(WitnessContradicts, match="has cosigned 30 entries, the journal has 20"):
        ask(transport, peer, 20, 20)


@pytest.mark.req("T26", "AU-11")
def test_a_witness_that_saw_another_history_contradicts(tmp_path: Path) -> None:
    notary = make_notary(tmp_path)
    assert notary.answer(SmallLog(40, b"fork").submit(0, 9)).status == 200
    transport, peer = httpx.ASGITransport(create_witness(notary)), Peer("w1", notary.vkey, "http://witness")
    for old, new in ((0, 12), (9, 12), (9, 9)):
        with pytest.raises(WitnessContradicts):
            ask(transport, peer, old, new)


def canned(answers: Sequence[tuple[int, str, bytes]]) -> httpx.ASGITransport:
    """A peer that gives these answers, the last one for ever."""
    left = list(answers)

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        status, media, body = left.pop(0) if len(left) > 1 else left[0]
        headers = [(b"content-type", media.encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return httpx.ASGITransport(app)


@pytest.mark.parametrize(
    ("answers", "error", "what"),
    [
        ([(404, "text/plain", b"who?\n")], WitnessFailed, "answered 404"),
        ([(403, "text/plain", b"")], WitnessFailed, "answered 403"),
        ([(301, "text/plain", b"")], WitnessFailed, "answered 301"),
        ([(500, "text/plain", b"")], WitnessFailed, "answered 500"),
        ([(200, "text/plain", b"")], WitnessFailed, "did not cosign"),
        ([(200, "text/plain", b"junk\n")], WitnessFailed, "did not cosign"),
        ([(200, "text/plain", WITNESSES[1].cosign(LOG.note(9), 5)[-200:])], WitnessFailed, "did not cosign"),
        ([(200, "text/plain", b"x" * (MAX_ANSWER + 1))], WitnessFailed, "more than"),
        ([(409, "text/plain", b"7\n")], WitnessFailed, "without its size"),
        ([(409, SIZE, b"07\n")], WitnessFailed, "without its size"),
        ([(409, SIZE, b"3\n"), (409, SIZE, b"4\n"), (409, SIZE, b"5\n")], WitnessFailed, "another size each time"),
        ([(409, SIZE, b"10\n")], WitnessContradicts, "has cosigned 10"),
        ([(409, SIZE, b"9\n")], WitnessContradicts, "another root for 9"),
        ([(422, "text/plain", b"no\n")], WitnessContradicts, "does not extend"),
    ],
)
def test_answers_that_are_no_cosignature(
    answers: Sequence[tuple[int, str, bytes]], error: type[Exception], what: str
) -> None:
    peer = Peer("w1", WITNESSES[0].public, "http://witness")
    with pytest.raises(error, match=what):
        ask(canned(answers), peer, 9 if "9" in what else 0, 9)


def test_a_witness_that_is_away() -> None:
    async def run() -> None:
        peer = Peer("w1", WITNESSES[0].public, "http://127.0.0.1:9")
        async with open_client(trust_authorities([peer], None)) as client:
            await ask_witness(client, peer, 0, Head(9, LOG.note(9)), prove)

    with pytest.raises(WitnessFailed, match="is away"):
        asyncio.run(run())


@pytest.mark.parametrize(
    "url", ["ftp://w.example", "https://", "w.example", "https://a:b@w.example", "http://w/?q", "h://["]
)
def test_urls_that_are_refused(url: str) -> None:
    with pytest.raises(SettingsInvalid):
        read_peer("w1", WITNESSES[0].public, url)


def test_a_url_is_a_prefix() -> None:
    assert read_peer("w1", WITNESSES[0].public, "https://w.example/log/").url == "https://w.example/log"


def settings(tmp_path: Path, witnesses: str, mode: Literal["development", "production"]) -> KeyroomSettings:
    return msgspec.structs.replace(soft_world(tmp_path).settings(), witnesses=witnesses, mode=mode)


@pytest.mark.req("T26", "AU-11")
def test_production_needs_a_quorum_that_is_written_out(tmp_path: Path) -> None:
    assert not read_witnesses(settings(tmp_path, "quorum none\n", "development")).is_witnessed
    with pytest.raises(SettingsInvalid, match="in production"):
        read_witnesses(settings(tmp_path, "quorum none\n", "production"))
    text = f"witness w1 {VKEY} https://w.example\nquorum w1\n"
    assert read_witnesses(settings(tmp_path, text, "production")).is_witnessed
    for wrong in ("", "quorum w1\n", f"witness w1 {VKEY}\n"):
        with pytest.raises(SettingsInvalid):
            read_witnesses(settings(tmp_path, wrong, "development"))


def test_a_quorum_that_cannot_be_asked_is_refused() -> None:
    other = WITNESSES[1].public.encode()
    lines = f"witness w1 {VKEY} https://w.example\nwitness w2 {other}\ngroup g {{}} w1 w2\nquorum g\n"
    assert [peer.name for peer in list_peers(parse_policy(lines.format("any").encode(), own_log=True))] == ["w1"]
    with pytest.raises(SettingsInvalid, match="needs 1 more with a URL"):
        list_peers(parse_policy(lines.format("all").encode(), own_log=True))
