"""`kedge element`: keys that live in hardware: manifests of secure elements, and keys of TPMs."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer

from api.cli.errors import ItemsRefused
from api.cli.files import read_file, write_secret
from api.cli.lines import align
from api.cli.session import Session, connect, session_of
from ceremonies.commands import (
    ARTEFACT_LIMIT,
    CeremonyShown,
    ElementShown,
    ElementsListed,
    ManifestChecked,
    TpmActivated,
    TpmChallenged,
    Uploaded,
)

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    callback=connect,
    help="Keys that live in secure elements and TPMs.",
)
BLOB_HEADER: Final = bytes.fromhex("badcc0de00000001")
"""How a credential's file begins for `tpm2_activatecredential`: its magic number and version 1."""
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
TABLE: Final = ("key", "kind", "ident", "serial")

Unit = Annotated[str, typer.Option(help="The work order and the unit's serial number, ORDER/SERIAL.")]


@app.command("list")
def list_elements(ctx: typer.Context) -> None:
    """Every key that is known to live in hardware."""
    session = session_of(ctx)
    found = list(fetch_elements(session))
    rows = [[getattr(item, name) for name in TABLE] for item in found]
    session.show({"elements": [msgspec.to_builtins(item) for item in found]}, *align(TABLE, *rows))


@app.command("import")
def import_manifest(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="The manifest, JSON, as its maker signed it.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done; name every bad entry.")] = False,
    ceremony: Annotated[str, typer.Option(help="Id of the ceremony to propose.")] = "",
    reason: Annotated[str, typer.Option(help="Goes into the journal.")] = "delivery",
) -> None:
    """Upload a manifest, and look at it, or propose the ceremony that imports it. As an officer."""
    session = session_of(ctx)
    data = read_file(file, ARTEFACT_LIMIT)
    digest = hashlib.sha256(data).hexdigest()
    session.put(f"/v1/artefacts/{digest}", Uploaded, data, "application/octet-stream")
    checked = session.get(f"/v1/elements/manifests/{digest}", ManifestChecked)
    if checked.bad_count:
        session.show(checked, *align(("entry", "why"), *((str(item.entry), item.why) for item in checked.bad)))
        raise ItemsRefused(f"{checked.bad_count} entries cannot be imported; nothing was", hint="ask the supplier")
    told = ", ".join(f"{count} x {part}" for part, count in checked.parts.items())
    if dry_run or not ceremony:
        session.show(checked, f"{digest}: {told}", "propose it: kedge element import FILE --ceremony ID")
        return
    plan = msgspec.json.encode({"file": digest, "reason": reason})
    session.post("/v1/ceremonies", CeremonyShown, {"id": ceremony, "action": "elements-import", "plan": plan})
    session.show(checked, f"{ceremony}: {told}", f"next: kedge ceremony export {ceremony} plan step.json")


@app.command()
def challenge(
    ctx: typer.Context,
    area: Annotated[Path, typer.Argument(help="Public area of the unit's key, as `tpm2_create -u` writes it.")],
    certificates: Annotated[
        list[Path], typer.Argument(metavar="CERTIFICATE...", help="Of the TPM's endorsement key, then those above it.")
    ],
    unit: Unit,
    out: Annotated[
        Path, typer.Option(help="Where the credential goes; the one of the unit before is replaced.")
    ] = Path("credential.blob"),
) -> None:
    """Fetch a credential for `tpm2_activatecredential`; prints the challenge's name. As a station."""
    session = session_of(ctx)
    endorsement, *chain = (read_file(path, 1 << 14) for path in certificates)
    body = {"endorsement": endorsement, "area": read_file(area, 1024), "chain": chain}
    found = session.post(path_of(unit) + "/tpm-challenge", TpmChallenged, body)
    write_secret(out, BLOB_HEADER + found.blob + found.seed)
    session.show(found, f"challenge {found.challenge}", f"written: {out}, good for ten minutes")


@app.command()
def activate(
    ctx: typer.Context,
    challenge: Annotated[str, typer.Argument(help="The challenge's name.")],
    secret: Annotated[Path, typer.Argument(help="What the TPM gave back.")],
    unit: Unit,
) -> None:
    """Hand in what the TPM gave back; from then on its key may have the unit's certificate. As a station."""
    session = session_of(ctx)
    body = {"challenge": challenge, "secret": read_file(secret, 64)}
    found = session.post(path_of(unit) + "/tpm-activation", TpmActivated, body)
    again = ", as before" if found.replayed else ""
    session.show(found, f"{found.serial}: key {found.key} lives in TPM {found.ident}{again}")


def path_of(unit: str) -> str:
    """Where a unit's requests go. Raises typer.BadParameter."""
    order, _, serial = unit.partition("/")
    if not _NAME.fullmatch(order) or not _NAME.fullmatch(serial):
        raise typer.BadParameter(f"{unit!r} is not ORDER/SERIAL")
    return f"/v1/work-orders/{order}/devices/{serial}"


def fetch_elements(session: Session) -> Iterator[ElementShown]:
    """All pages."""
    after = ""
    while True:
        page = session.get("/v1/elements", ElementsListed, after=after)
        yield from page.elements
        if not page.following:
            return
        after = page.following
