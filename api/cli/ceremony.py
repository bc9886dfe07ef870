"""`kedge ceremony`: propose, list, show, export, decide and execute; over HTTP, or over the keyroom's socket."""

from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer

from api.cli.errors import FileRefused
from api.cli.files import read_file, write_file
from api.cli.lines import align, escape
from api.cli.session import Session, connect, session_of
from ceremonies.commands import (
    AnyCommand,
    CeremoniesListed,
    CeremonyShown,
    DecideStep,
    ExecuteStep,
    ListCeremonies,
    OpenGenesis,
    ShowCeremony,
)

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    callback=connect,
    help="Propose, look at, decide and execute ceremonies.",
)
PLAN_LIMIT: Final = 1 << 20
LOCAL: Final = "the keyroom's socket"

Ceremony = Annotated[str, typer.Argument(help="The ceremony's id.")]
StepName = Annotated[str, typer.Argument(metavar="STEP", help="The step's name.")]
Plan = Annotated[Path, typer.Argument(metavar="PLAN", help="The plan, JSON; its bytes are frozen as they are.")]
Chg = Annotated[str, typer.Option(help="Your change-request id.")]


@app.command("open")
def open_ceremony(ctx: typer.Context, ceremony: Ceremony, action: str, plan: Plan, chg: Chg = "") -> None:
    """Propose a ceremony of a kind, with a plan."""
    session = session_of(ctx)
    body = {"id": ceremony, "action": action, "plan": read_file(plan, PLAN_LIMIT), "chg": chg}
    show_one(session, session.post("/v1/ceremonies", CeremonyShown, body))


@app.command("genesis")
def open_genesis(ctx: typer.Context, ceremony: Ceremony, plan: Plan, chg: Chg = "") -> None:
    """Propose the genesis ceremony on an empty journal. Only over the keyroom's own socket."""
    session = session_of(ctx)
    show_one(session, session.ask(OpenGenesis(ceremony, read_file(plan, PLAN_LIMIT), chg), CeremonyShown))


@app.command("list")
def list_ceremonies(ctx: typer.Context) -> None:
    """All ceremonies, newest first."""
    session = session_of(ctx)
    rows = fetch_list(session)
    told = [(row.id, row.action, row.state, row.proposer or LOCAL) for row in rows]
    session.show({"ceremonies": rows}, *align(("id", "action", "state", "proposer"), *told))


@app.command("show")
def show_ceremony(ctx: typer.Context, ceremony: Ceremony) -> None:
    """One ceremony: its steps, who decided, what was made."""
    session = session_of(ctx)
    show_one(session, fetch(session, ceremony))


@app.command("export")
def export_step(ctx: typer.Context, ceremony: Ceremony, step: StepName, file: Path) -> None:
    """Write a step's exact bytes to FILE, for `kedge officer` on another machine."""
    from api.cli.steps import StepFile

    session = session_of(ctx)
    found = fetch(session, ceremony)
    for shown in found.steps:
        if shown.step == step:
            content = StepFile(
                ceremony=found.id,
                action=found.action,
                step=step,
                template=shown.template,
                shown=shown.shown,
                roster=found.roster,
            )
            write_file(file, msgspec.json.format(msgspec.json.encode(content), indent=1) + b"\n")
            session.show({"file": str(file)}, f"written: {file}", f"look at it: kedge officer show {file}")
            return
    names = ", ".join(shown.step for shown in found.steps) or "none yet"
    raise FileRefused(f"ceremony {ceremony} has no step {step}", hint=f"its steps: {names}")


@app.command("decide")
def decide_step(ctx: typer.Context, ceremony: Ceremony, step: StepName, statement: Path) -> None:
    """Hand in a signed statement, approving or rejecting; its signature is STATEMENT.sig."""
    session = session_of(ctx)
    text = read_file(statement, 1 << 16)
    signature = read_file(statement.with_name(statement.name + ".sig"), 1 << 14)
    body = {"statement": text, "signature": signature}
    verb = "rejections" if b'"decision":"reject"' in text else "approvals"
    show_one(
        session, act(session, f"{ceremony}/steps/{step}/{verb}", DecideStep(ceremony, step, text, signature), body)
    )


@app.command("execute")
def execute_step(ctx: typer.Context, ceremony: Ceremony, step: StepName) -> None:
    """Execute an approved step."""
    session = session_of(ctx)
    show_one(session, act(session, f"{ceremony}/steps/{step}/execution", ExecuteStep(ceremony, step)))


class Row(msgspec.Struct, frozen=True):
    """A ceremony in the list."""

    id: str
    action: str
    state: str
    proposer: str


class Rows(msgspec.Struct, frozen=True):
    """The list as the API answers it."""

    ceremonies: tuple[Row, ...]


def fetch_list(session: Session) -> tuple[Row, ...]:
    """All ceremonies, over the socket when one was given, else over HTTP."""
    if session.socket is not None:
        return tuple(Row(*row) for row in session.ask(ListCeremonies(), CeremoniesListed).ceremonies)
    return session.get("/v1/ceremonies", Rows).ceremonies


def fetch(session: Session, ceremony: str) -> CeremonyShown:
    """A ceremony, over the socket when one was given, else over HTTP."""
    if session.socket is not None:
        return session.ask(ShowCeremony(ceremony), CeremonyShown)
    return session.get(f"/v1/ceremonies/{ceremony}", CeremonyShown)


def act(session: Session, path: str, command: AnyCommand, body: object = None) -> CeremonyShown:
    """Something done to a step, over the socket when one was given, else over HTTP."""
    if session.socket is not None:
        return session.ask(command, CeremonyShown)
    return session.post(f"/v1/ceremonies/{path}", CeremonyShown, body)


def show_one(session: Session, ceremony: CeremonyShown) -> None:
    """A ceremony as JSON or as a table of its steps."""
    rows = [
        (step.step, "yes" if step.done else "no", ", ".join(f"{officer}: {what}" for officer, what in step.decisions))
        for step in ceremony.steps
    ]
    head = f"{ceremony.id}: {ceremony.action}, {ceremony.state}, proposed by {ceremony.proposer or LOCAL}"
    made = align(("kind", "name", "SHA-256"), *ceremony.documents) if ceremony.documents else ()
    session.show(ceremony, escape(head), *align(("step", "done", "decisions"), *rows), *made)
