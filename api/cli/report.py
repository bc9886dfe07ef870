"""`kedge report`: what was issued and what keys did, read from the database by a role that may only read."""

import csv
import io
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import typer

from api.cli.lines import align
from api.cli.session import session_of

Database = Annotated[
    str, typer.Option("--database", envvar="KEDGE_REPORT_DATABASE", help="postgresql://reader@/kedge, sqlite:///FILE.")
]
Csv = Annotated[bool, typer.Option("--csv", help="Comma-separated values, for a spreadsheet.")]

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    help="Count certificates and operations, from the database, with a role that only reads.",
)


@app.command("certificates")
def count_certificates(ctx: typer.Context, database: Database, as_csv: Csv = False) -> None:
    """Units approved, units used and certificates released, per work order."""
    from ceremonies.reports import OrderLine, open_report, report_orders

    with open_report(database) as connection:
        lines = report_orders(connection)
    show(ctx, OrderLine, lines, as_csv=as_csv)


@app.command("operations")
def count_operations(ctx: typer.Context, database: Database, as_csv: Csv = False) -> None:
    """How often each key was used and how that ended, per day (UTC)."""
    from ceremonies.reports import OperationLine, open_report, report_operations

    with open_report(database) as connection:
        lines = report_operations(connection)
    show(ctx, OperationLine, lines, as_csv=as_csv)


def show(ctx: typer.Context, kind: type[msgspec.Struct], lines: Sequence[msgspec.Struct], *, as_csv: bool) -> None:
    """The lines as a table, as JSON (`kedge --json`), or as CSV (RFC 4180) with a heading."""
    rows: list[list[Any]] = [[getattr(line, name) for name in kind.__struct_fields__] for line in lines]
    if as_csv:
        buffer = io.StringIO()
        csv.writer(buffer).writerows([kind.__struct_fields__, *([guard(value) for value in row] for row in rows)])
        typer.echo(buffer.getvalue(), nl=False)
        return
    texts = [[str(value) for value in row] for row in rows]
    session_of(ctx).show(msgspec.to_builtins(lines), *align(kind.__struct_fields__, *texts))


def guard(value: Any) -> Any:
    """A text that a spreadsheet would take for a formula gets an apostrophe before it."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
