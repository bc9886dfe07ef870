"""What the service says, and what is made of it."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from api.cli.device import Device
from api.cli.errors import ServiceAway
from api.cli.provisioning.answers import Confirmed
from api.cli.provisioning.exits import ServiceStrange, StationNotAuthorised, StationStopped
from api.cli.provisioning.records import Queued
from api.cli.provisioning.service import Later, Said, Service, Verdict, find_forbidden, read_seconds
from tests.api.cli.provisioning.devices import Reply, Scripted, Unit, answering, failing, problem

UNITS = [Unit(f"S-{number}") for number in range(4)]
BATCH = [unit.request("/out", n=at) for at, unit in enumerate(UNITS, 1)]


def ask(*replies: Reply) -> tuple[list[Verdict], Scripted]:
    session = Scripted(*replies)
    return list(Service(session).ask(BATCH)), session


def test_each_gets_its_own_verdict() -> None:
    verdicts, session = ask(answering(*UNITS, S_1=problem("key-known", 409), S_2=problem("keyroom-busy", 503)))
    assert [type(item) for item in verdicts] == [Device, Said, Later, Device]
    assert session.paths == ["/v1/work-orders/wo-1/devices"]
    assert isinstance(verdicts[1], Said)
    assert (verdicts[1].code, verdicts[1].hint, verdicts[1].status) == ("key-known", "do something", 409)


def test_confirmations_have_a_place_of_their_own() -> None:
    request = Queued("confirm", "wo-1", "S-0", "/out", 1, chain_sha256="ab" * 32, signature=b"signature")
    body = b'{"results":[{"serial":"S-0","index":420,"replayed":false}]}'
    session = Scripted(
        lambda items: httpx.Response(200 if items[0]["signature"] == "c2lnbmF0dXJl" else 400, content=body)
    )
    assert Service(session).ask([request]) == [Confirmed("S-0", 420, replayed=False)]
    assert session.paths == ["/v1/work-orders/wo-1/confirmations"]


def test_one_bad_form_spoils_no_other() -> None:
    """The service refuses a batch as a whole when one of its items has no form: halves find it."""

    def reply(items: list[dict[str, Any]]) -> httpx.Response:
        bad = any(item["serial"] == "S-2" for item in items)
        return failing(422, "fields-invalid")([]) if bad else answering(*UNITS)(items)

    verdicts, session = ask(*[reply] * 9)
    assert [type(item) for item in verdicts] == [Device, Device, Said, Device]
    assert session.asked == [["S-0", "S-1", "S-2", "S-3"], ["S-0", "S-1"], ["S-2", "S-3"], ["S-2"], ["S-3"]]


def test_an_unknown_order_is_of_all() -> None:
    verdicts, session = ask(failing(404, "work-order-unknown"))
    assert {item.code for item in verdicts if isinstance(item, Said)} == {"work-order-unknown"}
    assert len(session.asked) == 1


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
def test_what_may_pass_is_later(status: int) -> None:
    verdicts, _ = ask(failing(status, "keyroom-down", **{"Retry-After": "7"}))
    assert verdicts == [Later("keyroom-down: keyroom-down it is", 7.0)] * 4
    verdicts, _ = ask(failing(status))
    assert isinstance(verdicts[0], Later)


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (401, "token-expired", StationNotAuthorised),
        (403, "station-suspended", StationStopped),
        (404, "route-unknown", ServiceStrange),
        (404, "", ServiceStrange),
        (302, "", ServiceStrange),
    ],
)
def test_what_concerns_the_station_ends_the_run(status: int, code: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        ask(failing(status, code))


@pytest.mark.parametrize(
    "content", [b"", b"[]", b'{"results":[]}', b'{"results":[1,2,3,4]}', b'{"results":[{},{},{},{}]}']
)
def test_what_is_no_answer_is_nobodys(content: bytes) -> None:
    with pytest.raises(ServiceStrange):
        ask(lambda _: httpx.Response(200, content=content))


def test_a_suspension_in_the_middle_is_seen() -> None:
    verdicts, _ = ask(answering(*UNITS, S_3=problem("station-suspended", 403)))
    assert isinstance(find_forbidden(verdicts), StationStopped)
    assert find_forbidden([Said("key-known", "no", status=409)]) is None


def test_it_is_asked_again_as_it_says() -> None:
    pauses: list[float] = []
    session = Scripted(
        failing(503, "keyroom-busy", **{"Retry-After": "3"}),
        failing(503),
        answering(*UNITS, S_1=problem("station-too-fast", 429)),
        answering(*UNITS),
    )
    verdicts = Service(session, pauses.append).insist(BATCH, 100)
    assert [type(item) for item in verdicts] == [Device] * 4
    assert session.asked[2:] == [["S-0", "S-1", "S-2", "S-3"], ["S-1"]]
    assert [round(pause - 0.25) for pause in pauses] == [3, 1, 2]


def test_patience_ends() -> None:
    pauses: list[float] = []
    session = Scripted(failing(503, "keyroom-busy", **{"Retry-After": "30"}))
    assert isinstance(Service(session, pauses.append).insist(BATCH, 5)[0], Later)
    assert pauses == []


def test_nobody_there_is_later(tmp_path: Path) -> None:
    class Nobody(Scripted):
        def send(self, *_: object, **__: object) -> httpx.Response:
            raise ServiceAway("no route to host")

    assert Service(Nobody()).ask(BATCH[:1]) == [Later("no route to host")]


def test_a_service_that_nobody_vouches_for_is_no_outage() -> None:
    class Stranger(Scripted):
        def send(self, *_: object, **__: object) -> httpx.Response:
            raise ServiceAway("https://x: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed")

    with pytest.raises(ServiceStrange):
        Service(Stranger()).ask(BATCH[:1])


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5", 5.0), ("", 0.0), ("-5", 0.0), ("Wed, 21 Oct 2026 07:28:00 GMT", 0.0), ("٣", 0.0), ("9" * 9, 0.0)],
)
def test_retry_after(text: str, seconds: float) -> None:
    assert read_seconds(text) == seconds
