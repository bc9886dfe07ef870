"""`kedge grant`: quota grants for site boxes, the files between them and the centre, settlements of their journals."""

import contextlib
import csv
import hashlib
import io
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Annotated, Final

import msgspec
import typer

from api.cli.ceremony import show_one
from api.cli.errors import FileRefused, ItemsRefused
from api.cli.files import FILE_LIMIT, list_files, read_file, write_file
from api.cli.fleet import read_pairs
from api.cli.lines import align, escape
from api.cli.report import guard
from api.cli.session import Session, connect, session_of
from ceremonies.commands import (
    ARTEFACT_LIMIT,
    PARTS_LIMIT,
    BoxSettled,
    CeremonyShown,
    FindingShown,
    GrantShown,
    StraysFound,
    Uploaded,
)
from pki.log.media import write_medium
from pki.trust.authority import open_sign
from pki.trust.grants import QuotaGrant
from pki.x509.issuers import read_certificate

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    callback=connect,
    help="Site boxes: grant a quota, carry it, settle what was used of it.",
)
GRANT, CERTIFICATE, ROOT, LINKS, SETS = "grant.cose", "ca.pem", "root.pem", "link-*.pem", "set-*.cose"
TERMS: Final = ("box", "quantity", "class", "until", "from", "profile")
BOXES: Final = ("box", "plant", "size", "used", "time")
GRANTS: Final = ("id", "box", "number", "quantity", "used", "valid_to", "current")
FINDINGS: Final = FindingShown.__struct_fields__

Box = Annotated[str, typer.Argument(metavar="BOX", help="The label of the box's CA.")]


class BoxNoted(msgspec.Struct, frozen=True):
    """A box in the list; the API writes its checkpoint, a note, as text."""

    box: str
    plant: str
    size: int
    used: int
    time: str
    checkpoint: str


class Granted(msgspec.Struct, frozen=True):
    """Boxes and grants as the API answers them."""

    plant: str
    boxes: tuple[BoxNoted, ...]
    grants: tuple[GrantShown, ...]


class Document(msgspec.Struct, frozen=True):
    """A document as the API answers it; its bytes in base64."""

    name: str
    document: bytes


class Documents(msgspec.Struct, frozen=True):
    """A list of documents."""

    documents: tuple[Document, ...]


class Certificate(msgspec.Struct, frozen=True):
    """A CA certificate as the API answers it, in PEM."""

    name: str
    certificate: str


class Certificates(msgspec.Struct, frozen=True):
    """CA certificates."""

    certificates: tuple[Certificate, ...]


@app.command("make")
def make_grant(
    ctx: typer.Context,
    grant: Annotated[str, typer.Argument(help="Its id; the ceremony is grant-ID.")],
    terms: Annotated[list[str], typer.Argument(metavar="NAME=VALUE...", help=f"{', '.join(TERMS)}.")],
) -> None:
    """At the centre, as an officer: propose a grant: box=LABEL quantity=N class=NAME[,NAME...] until=DATE, and where
    they differ from today and idevid from=DATE profile=NAME[,NAME]. It takes the place of the box's grant of before.
    """
    given = {"from": datetime.now(UTC).date().isoformat(), "profile": "idevid"} | read_pairs(terms, TERMS)
    if missing := set(TERMS) - given.keys():
        raise typer.BadParameter(f"a grant needs {', '.join(sorted(missing))}")
    if not given["quantity"].isdecimal():
        raise typer.BadParameter(f"{given['quantity']!r} is no number of certificates")
    plan = {
        "id": grant, "box": given["box"], "quantity": int(given["quantity"]), "classes": given["class"].split(","),
        "profiles": given["profile"].split(","), "valid_from": read_date(given["from"]),
        "valid_to": read_date(given["until"]),
    }  # fmt: skip
    propose(session_of(ctx), f"grant-{grant}", "grant", plan)


@app.command("show")
def show_grants(ctx: typer.Context) -> None:
    """At the centre: boxes and grants, and what is settled of them. At a box: its grants, and what is used."""
    session = session_of(ctx)
    found = session.get("/v1/grants", Granted)
    boxes = [[str(getattr(item, name)) for name in BOXES] for item in found.boxes]
    rows = [[show_cell(item, name) for name in GRANTS] for item in found.grants]
    session.show(found, *(align(BOXES, *boxes) if boxes else ()), *align(GRANTS, *rows))


@app.command("export")
def export_grant(
    ctx: typer.Context,
    grant: Annotated[str, typer.Argument(help="The grant's id.")],
    directory: Annotated[Path, typer.Argument(help="A directory on the medium.")],
) -> None:
    """At the centre: write what the box needs: the grant, its CA's certificate and what is above it, trust sets."""
    session = session_of(ctx)
    found = next((item for item in session.get("/v1/grants", Granted).grants if item.id == grant), None)
    if found is None:
        raise FileRefused(f"no grant {grant}", hint="list them: kedge grant show")
    certificates = {
        ca.name: ca.certificate.encode() for ca in session.get("/v1/certificates", Certificates).certificates
    }
    document = session.get(f"/v1/documents/{found.document}", Document).document
    files = {GRANT: document, CERTIFICATE: certificates[found.box], **list_ancestry(certificates, found.box)}
    files |= {f"{item.name}.cose": item.document for item in session.get("/v1/trust-sets", Documents).documents}
    written = [write_file(directory / name, data) for name, data in files.items()]
    session.show({"files": [str(path) for path in written]}, *map(str, written), "at the box: kedge grant import DIR")


@app.command("import")
def import_grant(
    ctx: typer.Context,
    directory: Annotated[Path, typer.Argument(help="What `kedge grant export` wrote.")],
    ceremony: Annotated[str, typer.Option(help="Id of the ceremony.")],
) -> None:
    """At the box, as an officer: propose to take a grant. Its officers approve it as any ceremony."""
    session = session_of(ctx)
    document = read_file(directory / GRANT, 1 << 16)
    under = open_sign(QuotaGrant, document)[0].set_ref
    known = {item.name for item in session.get("/v1/trust-sets", Documents).documents}
    new = [path for path in sorted(directory.glob(SETS), key=read_index) if path.stem not in known]
    new = [path for path in new if read_index(path) <= (under.generation, under.epoch)]
    plan = {
        "grant": document,
        "trust_sets": [read_file(path, 1 << 16) for path in new],
        "certificate": read_text(directory / CERTIFICATE),
        "root": "".join(map(read_text, directory.glob(ROOT))),
        "links": [read_text(path) for path in sorted(directory.glob(LINKS))],
    }
    propose(session, ceremony, "grant-import", plan)


def list_ancestry(certificates: Mapping[str, bytes], box: str) -> dict[str, bytes]:
    """The files of the root that certified the CA of a box, and of the links from older roots to it (`NEW@OLD`)."""
    parsed = {name: read_certificate(data) for name, data in certificates.items()}
    found = [name for name, item in parsed.items() if item.subject == parsed[box].issuer]
    return {LINKS.replace("*", name.rpartition("@")[2]) if "@" in name else ROOT: certificates[name] for name in found}


def read_text(path: Path) -> str:
    """A file of a PEM block."""
    return read_file(path, 1 << 14).decode("ascii", "replace")


@app.command("checkpoint")
def write_checkpoint(
    ctx: typer.Context, box: Box, file: Annotated[Path, typer.Argument(help="Where to write it.")]
) -> None:
    """At the centre: the checkpoint that was settled; at the box: kedge journal export DIR --since FILE."""
    session = session_of(ctx)
    found = next((item for item in session.get("/v1/grants", Granted).boxes if item.box == box), None)
    if found is None or not found.size:
        raise FileRefused(f"nothing of a box {box} is settled", hint="export the whole journal")
    write_file(file, found.checkpoint.encode())
    session.show({"file": str(file), "size": found.size}, f"{file}: {found.size} entries")


@app.command("settle")
def settle_box(
    ctx: typer.Context,
    box: Box,
    directory: Annotated[Path, typer.Argument(help="What `kedge journal export` wrote at the box; or a ustar file.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be found.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="The findings for a spreadsheet.")] = False,
) -> None:
    """At the centre, as an officer: read the journal of a box. Status 1 when there is a finding that is an alarm."""
    session = session_of(ctx)
    with open_medium(directory) as medium:
        parts = list(upload_parts(session, medium))
    answer = session.post(f"/v1/boxes/{box}/settlements", BoxSettled, {"parts": parts, "dry_run": dry_run})
    rows = [[str(getattr(item, name)) for name in FINDINGS] for item in answer.findings]
    if as_csv:
        typer.echo(write_csv(rows), nl=False)
    else:
        told = f"{box}: entries {answer.since} to {answer.size}, {answer.certificates} certificates"
        used = ", ".join(f"{name}: {count} used" for name, count in answer.used.items())
        session.show(answer, f"{told}, {answer.devices} new devices", escape(used), *align(FINDINGS, *rows))
    if answer.alarm:
        raise ItemsRefused(f"{answer.findings_count} findings", hint="see the runbook site-box")


@app.command("strays")
def find_strays(
    ctx: typer.Context, certificates: Annotated[list[Path], typer.Argument(help="Certificates, PEM or DER.")]
) -> None:
    """At the centre: which of these certificates are by a box's CA, and not in its journal?"""
    session = session_of(ctx)
    body = {"certificates": [read_file(path, 1 << 14) for path in certificates]}
    found = session.post("/v1/boxes/strays", StraysFound, body).verdicts
    rows = [(str(path), item.state, item.box, item.number) for path, item in zip(certificates, found, strict=True)]
    session.show({"verdicts": found}, *align(("file", "state", "box", "number"), *rows))
    if strays := sum(item.state == "stray" for item in found):
        raise ItemsRefused(f"{strays} certificates are in no journal", hint="see the runbook site-box")


def propose(session: Session, ceremony: str, action: str, plan: object) -> None:
    """Open a ceremony; bytes of a plan travel as base64."""
    body = {"id": ceremony, "action": action, "plan": msgspec.json.encode(plan)}
    show_one(session, session.post("/v1/ceremonies", CeremonyShown, body))


def read_date(text: str) -> int:
    """Midnight (UTC) of a date, in seconds since 1970. Raises typer.BadParameter."""
    try:
        return int(datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).timestamp())
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no date such as 2027-01-31") from error


def read_index(path: Path) -> tuple[int, ...]:
    """Generation and epoch in the name of a trust set's file. Raises FileRefused."""
    numbers = path.stem.removeprefix("set-").split("-")
    if len(numbers) != 2 or not all(number.isascii() and number.isdigit() for number in numbers):
        raise FileRefused(f"{path} is not named as a trust set", hint="such as set-0-1.cose")
    return tuple(map(int, numbers))


def show_cell(grant: GrantShown, name: str) -> str:
    """A field of a grant for people."""
    if name == "valid_to":
        return datetime.fromtimestamp(grant.valid_to, UTC).isoformat()
    return "in force" * grant.current if name == "current" else str(getattr(grant, name))


@contextlib.contextmanager
def open_medium(source: Path) -> Iterator[IO[bytes]]:
    """An export as one file; a file as it is. Raises FileRefused, AuditFailed."""
    if source.is_file():
        with source.open("rb") as file:
            yield file
        return
    with tempfile.TemporaryFile() as file:
        file.writelines(write_medium(list_files(source), lambda name: read_file(source / name, FILE_LIMIT)))
        file.seek(0)
        yield file


def upload_parts(session: Session, medium: IO[bytes]) -> Iterator[str]:
    """Send a medium in parts that the service takes. Raises FileRefused."""
    count = 0
    while data := medium.read(ARTEFACT_LIMIT):
        count += 1
        if count > PARTS_LIMIT:
            raise FileRefused(f"the medium has more than {PARTS_LIMIT * ARTEFACT_LIMIT} bytes", hint="carry increments")
        digest = hashlib.sha256(data).hexdigest()
        session.put(f"/v1/artefacts/{digest}", Uploaded, data, "application/octet-stream")
        yield digest


def write_csv(rows: Sequence[Sequence[str]]) -> str:
    """RFC 4180 with a heading; no cell is a formula."""
    buffer = io.StringIO()
    csv.writer(buffer).writerows([FINDINGS, *([guard(cell) for cell in row] for row in rows)])
    return buffer.getvalue()
