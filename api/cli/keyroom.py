"""`kedge keyroom`: the keyroom as a process."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from api.cli.errors import FileRefused

if TYPE_CHECKING:
    from ceremonies.settings import KeyroomSettings

Settings = Annotated[
    Path, typer.Option("--settings", envvar="KEDGE_KEYROOM_SETTINGS", help="The keyroom's settings file (TOML).")
]

Recover = Annotated[
    Path | None, typer.Option("--recover", help="Directory of an approved recovery of the journal (`kedge recover`).")
]

MakeTokens = Annotated[bool, typer.Option("--make-tokens", help="Development: make tokens that are missing.")]


def run(
    settings: Settings,
    make_tokens: MakeTokens = False,
    recover: Recover = None,
) -> None:
    """Run the keyroom: the only process that knows PINs and uses keys. It ends when it is told to, or refuses."""
    from ceremonies.process import run_keyroom
    from ceremonies.settings import load_settings

    loaded = load_settings(settings)
    check_pins(loaded)
    if recover is not None:
        loaded = msgspec.structs.replace(loaded, recovery=recover)
    run_keyroom(settings, loaded, make=make_tokens)


def check_pins(settings: "KeyroomSettings") -> None:
    """Every PIN file is there; what it holds is the strongbox's concern. Raises FileRefused."""
    for token in settings.tokens:
        if not token.pin_file.exists():
            raise FileRefused(
                f"PIN file {token.pin_file} of token {token.label} is missing",
                hint=f"create {token.pin_file} with the token's PIN, then chmod 0400 {token.pin_file}",
            )
