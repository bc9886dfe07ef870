"""`kedge events`: journal entries as events, as JSON Lines."""

import sys
import time
from typing import Annotated, Final

import msgspec
import typer

from api.cli.session import Session, connect, session_of
from ceremonies.commands import EventShown, EventsListed, ListEvents

PAUSE_S: Final = 2.0
PAGE: Final = 500

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    callback=connect,
    help="Follow what happens, for monitoring.",
)

Start = Annotated[int, typer.Option("--from", min=0, help="Index of the first journal entry.")]
Follow = Annotated[bool, typer.Option("--follow", help="Go on until interrupted.")]


class Listed(msgspec.Struct, frozen=True):
    """A page of events, over HTTP or the socket."""

    events: tuple[EventShown, ...]
    following: int
    size: int


@app.command("tail")
def tail_events(ctx: typer.Context, start: Start = 0, follow: Follow = False) -> None:
    """Print events from a journal index on, one JSON object a line. Needs an auditor's token, or the socket."""
    session = session_of(ctx)
    while True:
        page = fetch_page(session, start)
        for event in page.events:
            sys.stdout.write(msgspec.json.encode(event).decode() + "\n")
        sys.stdout.flush()
        start = page.following
        if page.events:
            continue
        if not follow:
            return
        time.sleep(PAUSE_S)


def fetch_page(session: Session, start: int) -> Listed:
    """Events over the socket when one was given, else over HTTP."""
    if session.socket is None:
        return session.get("/v1/events", Listed, start=start, limit=PAGE)
    found = session.ask(ListEvents(start, PAGE), EventsListed)
    return Listed(found.events, found.following, found.size)
