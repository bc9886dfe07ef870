"""`kedge station issue`, `confirm`, `resume`, `status`: what a line's software runs for each unit, or for many."""

import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer

from api.cli.errors import CliError, FileRefused
from api.cli.lines import align, list_facts
from api.cli.provisioning.answers import is_answered, is_confirmed
from api.cli.provisioning.dispatch import Result, dispatch, make_result
from api.cli.provisioning.exits import Exit
from api.cli.provisioning.identity import check_identity
from api.cli.provisioning.intake import CSR, READBACK, Source, check_name, list_sources, read_confirmation, read_csr
from api.cli.provisioning.logbook import Logbook, opened, read_logbook
from api.cli.provisioning.records import Act, Item, Queued
from api.cli.provisioning.report import find_ending, show_results, showing_progress
from api.cli.provisioning.service import Service
from api.cli.session import Session, session_of

LOGBOOK: Final = "logbook"
SHOWN: Final = 200

Wait = Annotated[float, typer.Option(min=0, max=86_400, help="Seconds to ask again while the service is away.")]


class PendingDiffers(CliError):
    """Another request for the same unit waits in the logbook."""

    code = "pending-differs"


class Standing(msgspec.Struct, frozen=True):
    """The logbook in figures: how many requests stand how; torn: its last line was not written to its end."""

    logbook: str
    queued: int
    sent: int
    answered: int
    refused: int
    torn: bool
    requests: tuple[Result, ...]


class Task(msgspec.Struct, frozen=True):
    """What a run is asked to do: files, and how a request is read from one."""

    act: Act
    sources: tuple[Source, ...]
    read: Callable[[Source], Queued]


def issue(
    ctx: typer.Context,
    source: Annotated[Path, typer.Argument(help="SERIAL.csr (PKCS #10, DER or PEM), or a directory of such files.")],
    order: Annotated[str, typer.Option(help="The open work order.")],
    out: Annotated[Path, typer.Option(help="Directory for the answers.")],
    wait: Wait = 30.0,
) -> None:
    """Have certificates issued, one or many. May be repeated: the same requests get the same answers.

    Writes SERIAL.crt.pem, .chain.pem, .nonce and .answer.json. While the service is away, requests wait in the logbook.
    """
    check_name(order, "the work order")
    read = partial(read_csr, order=order, out=out, at=int(time.time()))
    work(session_of(ctx), Task("issue", tuple(list_sources(source, CSR)), read), wait)


def confirm(
    ctx: typer.Context,
    source: Annotated[Path, typer.Argument(help="SERIAL.readback beside its answer, or the directory of the answers.")],
    signer: Annotated[
        str, typer.Option(help="A command by which the unit signs; else its signature is SERIAL.sig.")
    ] = "",
    wait: Wait = 30.0,
) -> None:
    """Confirm units: what was read back from them, and their signatures, are compared here, then sent.

    The command gets the bytes to sign on its standard input and the serial in KEDGE_SERIAL; it writes the signature.
    """
    read = partial(read_confirmation, signer=signer, at=int(time.time()))
    work(session_of(ctx), Task("confirm", tuple(list_sources(source, READBACK)), read), wait)


def resume(ctx: typer.Context, wait: Wait = 30.0) -> None:
    """Send what waits in the logbook, in order."""
    work(session_of(ctx), None, wait)


def status(
    ctx: typer.Context,
    everything: Annotated[bool, typer.Option("--all", help="Show what was answered, too.")] = False,
) -> None:
    """What the logbook says: what waits, what was refused. Exit status 4 while something waits."""
    session = session_of(ctx)
    path = find_logbook(session)
    content = read_logbook(path)
    counts = dict.fromkeys(("queued", "sent", "answered", "refused"), 0)
    for item in content.items.values():
        counts[item.state] += 1
    shown = tuple(describe(item) for item in content.items.values() if everything or item.state != "answered")
    standing = Standing(str(path), **counts, torn=content.torn, requests=shown)
    rows = [(item.serial, item.work_order, item.act, item.state, item.code, item.detail) for item in shown[-SHOWN:]]
    table = align(("serial", "order", "act", "state", "code", "why"), *rows) if rows else []
    session.show(standing, *list_facts(str(path), counts.items()), *table)
    if counts["queued"] + counts["sent"]:
        raise typer.Exit(Exit.QUEUED)


def work(session: Session, task: Task | None, wait: float) -> None:
    """Write the task's requests down, then send all that waits. Raises how it ended, unless everything is done."""
    results: list[Result] = []
    with opened(find_logbook(session)) as logbook:
        if logbook.torn:
            sys.stderr.write("the last line of the logbook was cut off by a crash: repeat the command before\n")
        if task is not None:
            requests, settled = read_task(logbook, task)
            results += settled
            logbook.queue(requests)
        with showing_progress(session, len(logbook.list_waiting())) as step:

            def tell(result: Result) -> None:
                results.append(result)
                step()

            stopped = send_all(session, logbook, tell, wait)
        told = {(item.act, item.work_order, item.serial) for item in results}
        results += [describe(item) for item in logbook.list_waiting() if item.request.name not in told]
    show_results(session, results)
    ending = find_ending(results, stopped)
    if ending is not None:
        raise ending


def send_all(session: Session, logbook: Logbook, tell: Callable[[Result], None], wait: float) -> CliError | None:
    """Send what waits, if the station has something to show. Returns why it ended early, or None."""
    if not logbook.list_waiting():
        return None
    try:
        check_identity(session.identity)
    except CliError as error:
        return error
    return dispatch(logbook, Service(session), tell, wait)


def read_task(logbook: Logbook, task: Task) -> tuple[list[Queued], list[Result]]:
    """Requests that are new, and results of those that need not or must not be sent. One that fails blocks no other."""
    pending = {item.request.name: item.request for item in logbook.list_waiting()}
    requests: list[Queued] = []
    results: list[Result] = []
    for source in task.sources:
        try:
            if task.act == "confirm" and is_confirmed(source.path.parent, source.serial):
                results.append(Result(source.serial, "", "confirm", "answered", replayed=True))
                continue
            request = task.read(source)
            if request.name in pending:
                check_same(pending[request.name], request)
            elif request.act == "issue" and is_answered(request):
                results.append(make_result(request, "answered", replayed=True))
            else:
                requests.append(request)
        except CliError as error:
            results.append(Result(source.serial, "", task.act, "refused", error.code, error.message, error.hint))
    return requests, results


def check_same(pending: Queued, request: Queued) -> None:
    """A request that waits may be asked again, and nothing else for its unit. Raises PendingDiffers.

    The signatures of two confirmations differ, though they say the same.
    """
    if (pending.csr, pending.chain_sha256) != (request.csr, request.chain_sha256):
        raise PendingDiffers(
            f"another request for {request.serial} under {request.order} waits in the logbook",
            hint="`kedge station resume` first; then ask again",
        )


def describe(item: Item) -> Result:
    """A request of the logbook as it stands."""
    if item.refusal is None:
        return make_result(item.request, item.state)
    return make_result(item.request, "refused", item.refusal.code, item.refusal.detail, item.refusal.hint)


def find_logbook(session: Session) -> Path:
    """Where the logbook is: as KEDGE_LOGBOOK says, else in the station's directory. Raises FileRefused."""
    named = os.environ.get("KEDGE_LOGBOOK", "")
    if named:
        return Path(named)
    if session.identity is None:
        raise FileRefused("no logbook was named", hint="put --identity DIRECTORY before the verb, or set KEDGE_LOGBOOK")
    return session.identity / LOGBOOK
