"""`kedge key`: what keys there are, and the emergency stop."""

from typing import Annotated

import typer
from rich.table import Table

from api.cli.lines import escape
from api.cli.session import Session, connect, session_of
from ceremonies.commands import KeysListed

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    callback=connect,
    help="List keys; stop one at once.",
)


@app.command("list")
def list_keys(ctx: typer.Context) -> None:
    """Every key and its state."""
    session = session_of(ctx)
    show_keys(session, session.get("/v1/keys", KeysListed))


@app.command()
def suspend(
    ctx: typer.Context, label: str, reason: Annotated[str, typer.Option(help="Goes into the journal.")]
) -> None:
    """Stop a key at once. One officer suffices; to start it again takes a ceremony."""
    session = session_of(ctx)
    show_keys(session, session.post(f"/v1/keys/{label}/suspension", KeysListed, {"reason": reason}))


def show_keys(session: Session, keys: KeysListed) -> None:
    """Keys as JSON or as a table."""
    table = Table("label", "role", "scope", "algorithm", "state", "uses", "spki", box=None)
    for key in keys.keys:
        row = (key.label, key.role, key.scope, key.algorithm, key.state, str(key.uses), key.spki[:16])
        table.add_row(*map(escape, row))
    session.show(keys, table)
