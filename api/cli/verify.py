"""`kedge verify`: check an exported journal offline. Of our rooms it needs `pki` only."""

import os
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from api.cli.errors import CONSISTENT, FileRefused
from api.cli.files import read_file
from api.cli.lines import escape
from api.cli.session import session_of
from pki.log.audit import audit_journal
from pki.log.policy import parse_policy

FILE_LIMIT = 64 << 20


def verify_export(
    ctx: typer.Context,
    directory: Annotated[Path, typer.Argument(help="What `kedge journal export` wrote.")],
    trust: Annotated[Path | None, typer.Option(help="Trust policy, from another source than DIRECTORY.")] = None,
    allow_open: Annotated[bool, typer.Option(help="Accept operations still under way.")] = False,
) -> None:
    """Check every entry, hash, signature and quorum; the first bad entry is named.

    Status 0: authenticated. 1: a fault was found. 3: consistent, but without --trust nobody vouches for it.
    """
    policy = parse_policy(read_file(trust, 1 << 18)) if trust else None
    session, paths = session_of(ctx), list_files(directory)
    report = audit_journal(lambda path: read_file(directory / path, FILE_LIMIT), paths, policy, allow_open=allow_open)
    value = msgspec.to_builtins(report)
    session.show(value, *list_report(value))
    if report.verdict != "authenticated":
        raise typer.Exit(CONSISTENT)


def list_report(value: dict[str, Any]) -> list[str]:
    """The report as lines, one for each signer, witness and type of entry."""
    lines = []
    for name, item in value.items():
        if isinstance(item, dict):
            lines += [f"{name:>20}  {kind}: {count}" for kind, count in item.items()]
        elif isinstance(item, list | tuple):
            lines += [f"{name:>20}  {part}" for part in item] or [f"{name:>20}  none"]
        else:
            lines.append(f"{name:>20}  {item}")
    return [escape(line) for line in lines]


def list_files(directory: Path) -> list[str]:
    """All files below a directory, relative with slashes. Raises FileRefused for links and other odd things."""
    if not directory.is_dir():
        raise FileRefused(f"{directory} is no directory")
    found = []
    for place, folders, names in os.walk(directory):
        for name in [*folders, *names]:
            path = Path(place) / name
            if path.is_symlink() or not (path.is_dir() or path.is_file()):
                raise FileRefused(f"{path} is a link or no file", hint="an export has plain files only")
        found += [(Path(place) / name).relative_to(directory).as_posix() for name in names]
    return found
