"""`kedge journal`: exports, their entries, checkpoint, proofs, summary."""

import enum
import hashlib
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from api.cli.entries import format_csv, format_jsonl, walk
from api.cli.errors import FileRefused
from api.cli.files import FILE_LIMIT, Proven, list_files, read_file, write_below, write_file, write_proven
from api.cli.merging import merge_increment
from api.cli.session import Session, connect, read_answer, session_of
from ceremonies.commands import ExportJournal, ExportParty, JournalPart
from pki.log.checkpoints import parse_checkpoint
from pki.log.notes import parse_note
from pki.log.parties import KINDS
from pki.log.summaries import verify_summary

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    callback=connect,
    help="Export the journal; fetch checkpoint and proofs.",
)


class Form(enum.StrEnum):
    """How entries are printed."""

    JSONL = "jsonl"
    CSV = "csv"


class Summarized(msgspec.Struct, frozen=True):
    """A summary (JCS), and where the journal records its SHA-256."""

    document: bytes
    proven: Proven


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
    ctx: typer.Context,
    directory: Annotated[Path, typer.Argument(help="A directory that is new or empty.")],
    since: Annotated[Path | None, typer.Option(help="Only what is new: your last checkpoint (a file).")] = None,
    party: Annotated[
        str, typer.Option(help="Only one party: key:LABEL, device:SERIAL, work-order:ID, site:PLANT, change:ID.")
    ] = "",
) -> None:
    """Write the journal for `kedge verify` and for foreign tools. Needs an auditor's token.

    Complete; with --since an increment; with --party the entries of one party, which tell nothing about others.
    """
    session = session_of(ctx)
    if since is not None and party:
        raise FileRefused("an export is an increment or a party's", hint="give one of --since and --party")
    if directory.exists() and any(directory.iterdir()):
        raise FileRefused(f"{directory} is not empty", hint="an export has no surplus files")
    size, count = write_parts(directory, partial(fetch_part, session, read_what(since, party)))
    value = {"directory": str(directory), "size": size, "files": count}
    option = f" --since {since}" if since else ""
    verify = f"verify them: kedge verify {directory} --trust FILE{option}"
    session.show(value, f"the journal has {size} entries, {count} files", verify)


@app.command("merge")
def merge(
    ctx: typer.Context,
    directory: Annotated[Path, typer.Argument(help="A complete export.")],
    increment: Annotated[Path, typer.Argument(help="What was exported since its checkpoint.")],
    allow_open: Annotated[bool, typer.Option(help="Accept operations still under way.")] = False,
) -> None:
    """Put an increment into the export that it extends. Offline; verify the result with `kedge verify`."""
    report = merge_increment(directory, increment, allow_open=allow_open)
    value = {"directory": str(directory), "since": report.since, "size": report.size}
    session_of(ctx).show(value, f"{report.since} entries, now {report.size}", f"kedge verify {directory} --trust FILE")


@app.command("show")
def show_entries(
    directory: Annotated[Path, typer.Argument(help="An export: complete, increment, or party.")],
    form: Annotated[Form, typer.Option("--format", help="Entries verbatim, or fixed columns.")] = Form.JSONL,
) -> None:
    """Print the entries of an export, one a line. Offline; verifies nothing, `kedge verify` does."""
    formatted = {Form.JSONL: format_jsonl, Form.CSV: format_csv}[form](walk(directory))
    for line in formatted:
        sys.stdout.write(line)


@app.command("recount")
def recount(
    ctx: typer.Context,
    directory: Annotated[Path, typer.Argument(help="A complete export that was verified.")],
    summary: Annotated[Path, typer.Argument(help="A summary of the same journal.")],
) -> None:
    """Count a summary again from the entries, and find the entry that records it. Offline."""
    index = verify_summary(read_file(summary, FILE_LIMIT), walk(directory))
    session_of(ctx).show({"recorded": index}, f"the entries give this summary; entry {index} records it")


@app.command("summary")
def fetch_summary(
    ctx: typer.Context, out: Annotated[Path, typer.Option(help="Directory for summary, entry and proof.")] = Path()
) -> None:
    """The journal in figures. An `export` entry records its SHA-256; entry and proof come with it."""
    session = session_of(ctx)
    found = session.get("/v1/journal/summary", Summarized)
    file = write_file(out / f"summary-{found.proven.index}.json", found.document)
    files = write_proven(out, file.stem, found.proven)
    session.show(found.proven, f"recorded by entry {found.proven.index}", file, *map(str, files))


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


def read_what(since: Path | None, party: str) -> dict[str, str | int]:
    """What to ask for: everything, what comes after a checkpoint, or a party. Raises FileRefused, LogError."""
    if since is not None:
        head = parse_checkpoint(parse_note(read_file(since, 1 << 20)).text)
        return {"since": head.size, "root": head.root.hex()} if head.size else {}
    kind, colon, name = party.partition(":")
    if party and (kind not in KINDS or not colon or not name):
        raise FileRefused(f"{party[:80]!r} names no party", hint=f"KIND:NAME with one of {', '.join(KINDS)}")
    return {"kind": kind, "name": name} if party else {}


def write_parts(directory: Path, fetch: Callable[[int, str], Part]) -> tuple[int, int]:
    """Fetch part after part into a directory. Returns the tree size and the number of files."""
    size, cursor = 0, ""
    while True:
        part = fetch(size, cursor)
        for file in part.files:
            write_below(directory, file.path, file.data)
        if part.cursor == cursor or not part.cursor:
            return part.size, sum(1 for _ in list_files(directory))
        size, cursor = part.size, part.cursor


def fetch_part(session: Session, what: Mapping[str, str | int], size: int, cursor: str) -> Part:
    """Part of an export, over the socket when one was given, else over HTTP."""
    fields = {**what, "size": size, "cursor": cursor}
    if session.socket is None:
        route = "/v1/journal/party" if "kind" in what else "/v1/journal/export"
        return read_answer(session.send("GET", route, params=fields), Part)
    if "kind" in what:
        part = session.ask(msgspec.convert(fields, ExportParty), JournalPart)
    else:
        part = session.ask(msgspec.convert(fields, ExportJournal), JournalPart)
    return Part(part.size, tuple(ExportedFile(path, data) for path, data in part.files), part.cursor)
