"""`kedge recover`: what officers approve when the newest entries of the journal are lost for good."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from api.cli.files import write_file
from api.cli.keyroom import Settings
from api.cli.lines import flatten, list_facts
from api.cli.session import session_of


def recover(
    ctx: typer.Context,
    settings: Settings,
    reason: Annotated[str, typer.Option(help="What happened: officers approve it, and it goes into the journal.")],
    file: Annotated[Path, typer.Argument(help="The step to write, for `kedge officer`, in a directory of its own.")],
) -> None:
    """Compare database and anchors, as the keyroom's user, and write what officers approve. It changes nothing."""
    from ceremonies.losses import propose_recovery, read_facts
    from ceremonies.process import open_strongbox, surroundings
    from ceremonies.settings import load_settings

    loaded = load_settings(settings)
    proposal = propose_recovery(loaded, surroundings(), reason, lambda: open_strongbox(loaded))
    write_file(file, msgspec.json.format(msgspec.json.encode(proposal), indent=1) + b"\n")
    facts = read_facts(proposal.shown)
    session_of(ctx).show(
        {"file": str(file), **facts},
        f"written: {file}",
        *list_facts("What officers approve", flatten(facts)),
        f"officers: kedge officer show {file}; kedge officer approve {file} --key KEY --officer NAME",
        f"then: kedge keyroom --recover {file.parent}",
    )
