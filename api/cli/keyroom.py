"""`kedge keyroom`: the keyroom as a process."""

from pathlib import Path
from typing import Annotated

import typer

Settings = Annotated[
    Path, typer.Option("--settings", envvar="KEDGE_KEYROOM_SETTINGS", help="The keyroom's settings file (TOML).")
]


def run(
    settings: Settings,
    make_tokens: Annotated[
        bool, typer.Option("--make-tokens", help="Development: make tokens that are missing.")
    ] = False,
) -> None:
    """Run the keyroom: the only process that knows PINs and uses keys. It ends when it is told to, or refuses."""
    from ceremonies.process import run_keyroom
    from ceremonies.settings import load_settings

    run_keyroom(load_settings(settings), make=make_tokens)
