"""`kedge journal`: export, checkpoint, proofs."""

import hashlib
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from api.cli.errors import FileRefused
from api.cli.files import Proven, write_below, write_proven
from api.cli.session import Session, connect, session_of
from ceremonies.commands import ExportJournal, JournalPart

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    callback=connect,
    help="Export the journal; fetch checkpoint and proofs.",
)


class ExportedFile(msgspec.Struct, frozen=True):
    """A file of an export; its bytes in base64."""

    path: str
    data: bytes


class Part(msgspec.Struct, frozen=True):
    """Part of an export; `cursor` is empty in the last one."""

    size: int
    files: tuple[ExportedFile, ...]
    cursor: str


@app.command("export")
def export_journal(
    ctx: typer.Context, directory: Annotated[Path, typer.Argument(help="A directory that is new or empty.")]
) -> None:
    """Write the complete journal for `kedge verify` and for foreign tools. Needs an auditor's token."""
    session = session_of(ctx)
    if directory.exists() and any(directory.iterdir()):
        raise FileRefused(f"{directory} is not empty", hint="an export has no surplus files")
    size, cursor, count = 0, "", 0
    while True:
        part = fetch_part(session, size, cursor)
        for file in part.files:
            write_below(directory, file.path, file.data)
        count += len(part.files)
        if part.cursor == cursor or not part.cursor:
            break
        size, cursor = part.size, part.cursor
    value = {"directory": str(directory), "size": part.size, "files": count}
    session.show(value, f"{part.size} entries, {count} files", f"verify them: kedge verify {directory} --trust FILE")


@app.command("checkpoint")
def show_checkpoint(ctx: typer.Context) -> None:
    """The newest signed checkpoint, verbatim. Public."""
    session = session_of(ctx)
    note = session.send("GET", "/journal/checkpoint").text
    session.show({"checkpoint": note}, note.rstrip("\n"))


@app.command("proof")
def fetch_proof(
    ctx: typer.Context,
    document: Annotated[Path, typer.Argument(help="A file that Kedge handed out.")],
    out: Annotated[Path, typer.Option(help="Directory for entry and proof.")] = Path(),
) -> None:
    """Fetch journal entry and proof of a document, found by its SHA-256. Public."""
    session = session_of(ctx)
    digest = hashlib.sha256(document.read_bytes()).hexdigest()
    found = session.get(f"/v1/journal/proofs/{digest}", dict[str, Proven])["proven"]
    files = write_proven(out, document.stem, found)
    session.show(found, f"entry {found.index}", *map(str, files))


def fetch_part(session: Session, size: int, cursor: str) -> Part:
    """Part of an export, over the socket when one was given, else over HTTP."""
    if session.socket is None:
        return session.get("/v1/journal/export", Part, size=size, cursor=cursor)
    part = session.ask(ExportJournal(size, cursor), JournalPart)
    return Part(part.size, tuple(ExportedFile(path, data) for path, data in part.files), part.cursor)
