"""`kedge`: the verbs put together, and the one place where errors become messages and exit statuses.

Exit statuses: 0 done; 1 refused, failed or not verified; 2 wrong usage; 3 consistent but not authenticated
(`kedge verify` without --trust); 4 a service is away, the same command may be repeated.
"""

import sys
from importlib import import_module
from typing import Annotated, Any, Final

import msgspec
import typer
from rich.console import Console
from typer.core import TyperGroup
from typer.main import get_command

from api.cli.errors import AWAY, REFUSED, CliError
from api.cli.session import Session
from ceremonies.client import KeyroomDown, Refused

# Verb: module and name. A verb's module is imported when the verb is used: commands start quickly, and the process of
# `kedge serve` never holds the database or PKCS#11 that other verbs need.
VERBS: Final = {
    "init": ("init", "create"),
    "up": ("up", "start_both"),
    "keyroom": ("keyroom", "run"),
    "unlock": ("unlock", "unlock"),
    "recover": ("recover", "recover"),
    "serve": ("serve", "run"),
    "demo": ("demo.command", "demo"),
    "officer": ("officer", "app"),
    "ceremony": ("ceremony", "app"),
    "key": ("key", "app"),
    "certificate": ("certificate", "app"),
    "crl": ("crl", "app"),
    "release": ("release", "app"),
    "device": ("device", "app"),
    "station": ("station", "app"),
    "element": ("element", "app"),
    "work-order": ("work_order", "app"),
    "fleet": ("fleet", "app"),
    "grant": ("grant", "app"),
    "journal": ("journal", "app"),
    "events": ("events", "app"),
    "witness": ("witness", "app"),
    "verify": ("verify", "verify_directory"),
    "report": ("report", "app"),
    "token": ("token", "app"),
    "doctor": ("doctor", "examine"),
}

CONNECTION: Final = ("--url", "--token-file", "--ca", "--socket")


class Kedge(TyperGroup):
    """The root group: it loads verbs, and tells what they raise, with a hint and never as a traceback."""

    def list_commands(self, ctx: Any) -> list[str]:
        """All verbs, in the order of VERBS."""
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The verb's command, or None."""
        return load_verb(cmd_name) if cmd_name in VERBS else None

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """`--json` is the same wherever it stands before a `--`."""
        ours = args[: args.index("--")] if "--" in args else args
        if "--json" in ours[1:]:
            args = ["--json", *(arg for arg in ours if arg != "--json"), *args[len(ours) :]]
        rest: list[str] = super().parse_args(ctx, args)
        return rest

    def invoke(self, ctx: Any) -> Any:
        """Run the command. Errors without a code of ours are defects and keep their traceback."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            code = getattr(error, "code", None)
            if isinstance(error, OSError):
                code = "operating-system"
            if isinstance(error, typer.TyperException):
                explain_place(error)
            if not isinstance(code, str) or isinstance(error, typer.TyperException):
                raise
            raise typer.Exit(report(error, code, ctx.find_object(Session))) from error


def explain_place(error: typer.TyperException) -> None:
    """Say in a usage error that options of the connection stand before the verb."""
    if getattr(error, "option_name", "") in CONNECTION:
        error.message += " here; it stands before the verb, as in `kedge key --url URL --token-file FILE list`"


def report(error: Exception, code: str, session: Session | None) -> int:
    """Tell an error on standard error. Returns the exit status."""
    message, hint = str(error), str(getattr(error, "hint", ""))
    if isinstance(error, Refused):
        code, message, hint = error.problem.code, error.problem.message, error.problem.hint
    if session is not None and session.json:
        text = msgspec.json.encode({"code": code, "message": message, "hint": hint}).decode()
        sys.stderr.write(text + "\n")
    else:
        console = Console(stderr=True, highlight=False, soft_wrap=True)
        console.print(f"{code}: {message}", style="bold red", markup=False)
        if hint:
            console.print(hint, markup=False)
    if isinstance(error, KeyroomDown):
        return AWAY
    return error.status if isinstance(error, CliError) else REFUSED


app = typer.Typer(
    cls=Kedge,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
    help="Holds the keys that a fleet trusts for its updates, and moves the fleet from one trust anchor to the next.",
)


@app.callback()
def start(ctx: typer.Context, json: Annotated[bool, typer.Option("--json", help="Answer in JSON.")] = False) -> None:
    """Options of every command."""
    ctx.obj = Session(json=json)


def load_verb(name: str) -> Any:
    """Import a verb's module and make its command."""
    module, attribute = VERBS[name]
    found = getattr(import_module(f"api.cli.{module}"), attribute)
    if not isinstance(found, typer.Typer):
        alone = typer.Typer(add_completion=False, rich_markup_mode=None)
        alone.command(name)(found)
        found = alone
    command = get_command(found)
    command.name = name
    return command


def run() -> None:
    """The console entry point."""
    app()


if __name__ == "__main__":
    run()
