"""`kedge unlock`: let a keyroom try its PINs again after five starts in a row had a wrong one."""

import os
from typing import Annotated

import typer

from api.cli.keyroom import Settings
from api.cli.session import session_of


def unlock(
    ctx: typer.Context,
    settings: Settings,
    reason: Annotated[str, typer.Option(help="What happened, and why it is safe now: it goes into the journal.")],
) -> None:
    """Clear the count of starts with a wrong PIN, as the keyroom's user. The next good start records who and why."""
    from ceremonies.lockout import Lockout
    from ceremonies.settings import load_settings

    starts = Lockout(load_settings(settings).data).clear(os.getuid(), reason)
    session_of(ctx).show(
        {"cleared_starts": starts}, f"{starts} starts with a wrong PIN are cleared; the next start tries the PIN once."
    )
