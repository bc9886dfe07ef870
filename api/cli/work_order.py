"""`kedge work-order`: orders in figures, reports of their units, rework and scrap of a unit, the end of an order."""

import enum
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer

from api.cli.ceremony import show_one
from api.cli.errors import FileRefused
from api.cli.files import write_file
from api.cli.lines import align, list_facts
from api.cli.session import Session, connect, session_of
from ceremonies.commands import CeremonyShown, UnitShown, WorkOrderShown

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    callback=connect,
    help="Work orders: figures, reports, rework, scrap, close.",
)
NEXT: Final = re.compile(r'<(/v1/[^<>]+)>; rel="next"')

Order = Annotated[str, typer.Argument(metavar="ORDER", help="The work order's id.")]
Serial = Annotated[str, typer.Argument(help="The unit's serial number.")]
Reason = Annotated[str, typer.Option(help="Goes into the journal.")]


class Form(enum.StrEnum):
    """How a report is written."""

    TABLE = "table"
    CSV = "csv"


class State(enum.StrEnum):
    """Which units a report has."""

    ALL = ""
    UNCONFIRMED = "unconfirmed"
    CONFIRMED = "confirmed"
    SCRAPPED = "scrapped"
    EXCUSED = "excused"
    REVOKED = "revoked"


class Orders(msgspec.Struct, frozen=True):
    """The list as the API answers it."""

    work_orders: tuple[WorkOrderShown, ...]


class Page(msgspec.Struct, frozen=True):
    """A page of a report."""

    work_order: str
    units: tuple[UnitShown, ...]
    following: str


class Permit(msgspec.Struct, frozen=True):
    """A permit for rework."""

    work_order: str
    serial: str
    index: int
    left: int
    replayed: bool


class Scrapped(msgspec.Struct, frozen=True):
    """A scrapped unit."""

    work_order: str
    serial: str
    index: int
    replayed: bool


@app.command("list")
def list_orders(ctx: typer.Context) -> None:
    """The work orders; a supervisor sees those of the own plant."""
    session = session_of(ctx)
    orders = session.get("/v1/work-orders", Orders)
    head = ("order", "class", "plant", "state", "quantity", "issued", "confirmed", "unconfirmed", "remaining")
    rows = [
        (o.work_order, o.class_name, o.plant, o.state, *map(str, (o.quantity, o.issued, o.confirmed, o.unconfirmed)),
         str(o.remaining))
        for o in orders.work_orders
    ]  # fmt: skip
    session.show(orders, *align(head, *rows))


@app.command("show")
def show_order(ctx: typer.Context, order: Order) -> None:
    """One work order in figures."""
    session = session_of(ctx)
    shown = session.get(f"/v1/work-orders/{order}", WorkOrderShown)
    facts = msgspec.structs.asdict(shown)
    told = ((name, ", ".join(value) if isinstance(value, tuple) else value) for name, value in facts.items())
    session.show(shown, *list_facts(shown.work_order, list(told)[1:]))


@app.command("report")
def report_units(
    ctx: typer.Context,
    order: Order,
    state: Annotated[State, typer.Option(help="Only units in this state.")] = State.ALL,
    form: Annotated[Form, typer.Option("--format", help="csv is safe to open in a spreadsheet.")] = Form.TABLE,
    out: Annotated[Path | None, typer.Option(help="File to write; printed when absent.")] = None,
) -> None:
    """Every unit of an order, by serial, with its entries. `--state unconfirmed` is the list of a shift's end."""
    session = session_of(ctx)
    if form is Form.CSV:
        text = "".join(read_csv(session, order, state))
        if out is None:
            session.console.print(text, end="", markup=False)
            return
        write_file(out, text.encode())
        session.show({"file": str(out)}, f"written: {out}")
        return
    if out is not None:
        raise FileRefused("a table is not written to a file", hint="--format csv --out FILE")
    units = [unit for page in read_pages(session, order, state) for unit in page.units]
    head = ("serial", "state", "issued", "confirmed", "scrapped", "replaced", "certificate")
    session.show({"work_order": order, "units": units}, *align(head, *map(describe_unit, units)))


@app.command("rework")
def permit_rework(ctx: typer.Context, order: Order, serial: Serial, reason: Reason) -> None:
    """Let a unit get a certificate for another key, once. Its present certificate is revoked then."""
    session = session_of(ctx)
    permit = session.post(f"/v1/work-orders/{order}/devices/{serial}/rework", Permit, {"reason": reason})
    again = "was open already" if permit.replayed else "is open"
    session.show(permit, f"{serial}: the permit (entry {permit.index}) {again}; {permit.left} left in {order}")


@app.command("scrap")
def scrap_device(ctx: typer.Context, order: Order, serial: Serial, reason: Reason) -> None:
    """Scrap a unit: its certificate is revoked, its part of the quota stays used."""
    session = session_of(ctx)
    scrapped = session.post(f"/v1/work-orders/{order}/devices/{serial}/scrap", Scrapped, {"reason": reason})
    again = " before" if scrapped.replayed else ""
    session.show(scrapped, f"{serial}: scrapped{again} (entry {scrapped.index}), and revoked")


@app.command("close")
def propose_close(
    ctx: typer.Context,
    order: Order,
    reason: Reason,
    excuse: Annotated[list[str] | None, typer.Option(help="A serial that is not revoked; may be repeated.")] = None,
    chg: Annotated[str, typer.Option(help="Your change-request id.")] = "",
) -> None:
    """Propose the ceremony `close-ORDER`: officers approve and execute it. What is unconfirmed is revoked then."""
    session = session_of(ctx)
    plan = {"work_order": order, "excused": excuse or [], "reason": reason}
    body = {
        "id": f"close-{order}", "action": "work-order-close", "plan": msgspec.json.encode(plan), "chg": chg,
    }  # fmt: skip
    show_one(session, session.post("/v1/ceremonies", CeremonyShown, body))


def read_pages(session: Session, order: str, state: State) -> Iterator[Page]:
    """The report, page by page."""
    after = ""
    while True:
        page = session.get(f"/v1/work-orders/{order}/report", Page, state=state.value, after=after)
        yield page
        if not page.following or page.following == after:
            return
        after = page.following


def read_csv(session: Session, order: str, state: State) -> Iterator[str]:
    """The report as CSV, page by page, as the API writes it."""
    path = f"/v1/work-orders/{order}/report?format=csv&state={state.value}"
    seen: set[str] = set()
    while path and path not in seen:
        seen.add(path)
        response = session.send("GET", path)
        yield response.text
        following = NEXT.fullmatch(response.headers.get("Link", ""))
        path = following[1] if following else ""


def describe_unit(unit: UnitShown) -> tuple[str, ...]:
    """A unit as a line of the table."""
    entries = ("-" if value is None else str(value) for value in (unit.issued, unit.confirmed, unit.scrapped))
    return (unit.serial, unit.state, *entries, str(len(unit.replaced)), unit.certificate)
