"""What waits in the logbook goes to the service, in order; answers become files, and all of it is written down."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import msgspec

from api.cli.device import Device
from api.cli.errors import CliError
from api.cli.provisioning.answers import Confirmed, write_confirmed, write_device
from api.cli.provisioning.exits import judge_refusal
from api.cli.provisioning.intake import split_batches
from api.cli.provisioning.logbook import Logbook
from api.cli.provisioning.records import Act, Answered, Queued, Record, Refused, Sent, State
from api.cli.provisioning.service import Later, Said, Service, Verdict, find_forbidden

BATCH: Final = 100
"""Requests in a call: as many as the service takes in one turn, so that progress is seen and little is asked again."""
BODY_BYTES: Final = 1 << 20
WRITERS: Final = 8
"""Threads that write files: their waiting for the disk is shared."""


class Result(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of a unit in this run: a line of `--json`. replayed: it was answered before."""

    serial: str
    work_order: str
    act: Act
    state: State
    code: str = ""
    detail: str = ""
    hint: str = ""
    replayed: bool = False


class ServiceLeft(CliError):
    """The service did not answer for as long as this run was to wait."""

    code = "service-left"


def dispatch(logbook: Logbook, service: Service, tell: Callable[[Result], None], patience: float) -> CliError | None:
    """Send everything that waits. Returns why it ended early, or None.

    tell: gets the result of each request that was sent, when it is durable. patience: seconds for which the service is
    asked again when it does not answer; then the rest is left waiting.
    """
    waiting, left = [item.request for item in logbook.list_waiting()], None
    for batch in split_batches(waiting, BATCH, BODY_BYTES):
        fresh = [request.n for request in batch if logbook.items[request.n].state == "queued"]
        logbook.append([Sent(fresh, int(time.time()))] if fresh else [])
        try:
            verdicts = service.insist(batch, patience)
        except CliError as error:
            return error
        for result in settle(logbook, batch, verdicts):
            tell(result)
        forbidden = find_forbidden(verdicts)
        if forbidden is not None:
            return forbidden
        late = [verdict for verdict in verdicts if isinstance(verdict, Later)]
        if late:
            left = ServiceLeft(late[0].said, hint="requests wait in the logbook: `kedge station resume`")
        if not all(verdict.alone for verdict in late):
            return left
    return left


def settle(logbook: Logbook, batch: Sequence[Queued], verdicts: Sequence[Verdict]) -> list[Result]:
    """Write the files of the answers, then the verdicts. A crash between leaves files, and the same request again."""
    now = int(time.time())
    with ThreadPoolExecutor(WRITERS) as writers:
        outcomes = list(writers.map(lambda pair: write_answer(pair[0], pair[1]), zip(batch, verdicts, strict=True)))
    logbook.append([record for request, result in outcomes for record in write_records(request, result, now)])
    return [result for _, result in outcomes]


def write_answer(request: Queued, verdict: Verdict) -> tuple[Queued, Result]:
    """Make the files of an answer. An answer that cannot be written stays waiting; one for another key is refused."""
    try:
        if isinstance(verdict, Device):
            write_device(request, verdict)
        elif isinstance(verdict, Confirmed):
            write_confirmed(request, verdict)
    except (CliError, OSError) as error:
        code = getattr(error, "code", "operating-system")
        state: State = "refused" if code == "answer-mismatch" else "sent"
        return request, make_result(request, state, code, str(error), getattr(error, "hint", ""))
    if isinstance(verdict, Later):
        return request, make_result(request, "sent", "service-away", verdict.said)
    if isinstance(verdict, Said):
        # A refusal of the station says nothing of the unit: it waits.
        barred = judge_refusal(verdict.status, verdict.code, verdict.detail) is not None
        return request, make_result(
            request, "sent" if barred else "refused", verdict.code, verdict.detail, verdict.hint
        )
    return request, make_result(request, "answered", replayed=verdict.replayed)


def write_records(request: Queued, result: Result, now: int) -> list[Record]:
    """What the logbook says of a result; nothing of what waits."""
    if result.state == "answered":
        return [Answered(request.n, now)]
    if result.state == "refused":
        return [Refused(request.n, now, result.code, result.detail, result.hint)]
    return []


def make_result(request: Queued, state: State, *why: str, replayed: bool = False) -> Result:
    """A result of a request. why: code, detail and hint, where there are any."""
    told = dict(zip(("code", "detail", "hint"), why, strict=False))
    return Result(request.serial, request.order, request.act, state, **told, replayed=replayed)
