"""`kedge certificate`: what is known of one, one revoked at once, many by a ceremony."""

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from api.cli.errors import FileRefused
from api.cli.files import read_file
from api.cli.lines import list_facts
from api.cli.session import Session, connect, session_of
from ceremonies.commands import CertificateShown, RevocationPreviewed

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    callback=connect,
    help="Look at certificates; revoke them.",
)
LIST_LIMIT = 1 << 20

Name = Annotated[str, typer.Argument(help="The device's serial, or `number:` and the certificate's number in hex.")]
Reason = Annotated[str, typer.Option(help="keyCompromise, superseded, cessationOfOperation, ... (RFC 5280, 5.3.1).")]
Why = Annotated[str, typer.Option(help="For people; goes into the journal.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only tell what would be revoked.")]


class Opened(msgspec.Struct, frozen=True):
    """What this command needs of a ceremony."""

    id: str
    state: str


@app.command("status")
def show_status(ctx: typer.Context, name: Name) -> None:
    """What the journal says of a certificate."""
    session = session_of(ctx)
    show_certificate(session, session.get("/v1/certificates/status", CertificateShown, **split_name(name)))


@app.command("revoke")
def revoke(ctx: typer.Context, name: Name, reason: Reason, why: Why, dry_run: DryRun = False) -> None:
    """Revoke one certificate at once and for ever. One officer suffices; a CA's takes a ceremony."""
    session = session_of(ctx)
    body = {**split_name(name), "reason": reason, "why": why, "dry_run": dry_run}
    show_certificate(session, session.post("/v1/revocations", CertificateShown, body))


@app.command("revoke-many")
def revoke_many(
    ctx: typer.Context,
    plan: Annotated[Path, typer.Argument(help="The plan, JSON: reason, why, and work_order, key, or serials/numbers.")],
    ceremony: Annotated[str, typer.Option(help="The id of the ceremony `revoke` that is proposed.")] = "",
    dry_run: DryRun = False,
) -> None:
    """Propose to revoke everything of a work order, of a CA's key, or of an incident's list."""
    session, data = session_of(ctx), read_file(plan, LIST_LIMIT)
    if dry_run == bool(ceremony):
        raise FileRefused("say --dry-run, or --ceremony ID", hint="a dry run opens nothing")
    if dry_run:
        listed = session.post("/v1/revocations/preview", RevocationPreviewed, {"plan": data})
        facts: list[tuple[object, object]] = [("certificates", listed.count), ("revoked already", listed.revoked)]
        facts += [("list SHA-256", listed.sha256), *((f"{at}.", name) for at, name in enumerate(listed.first, 1))]
        session.show(listed, *list_facts("This plan would revoke", facts))
        return
    body: dict[str, Any] = {"id": ceremony, "action": "revoke", "plan": data}
    opened = session.post("/v1/ceremonies", Opened, body)
    session.show(opened, f"{opened.id} is {opened.state}: have officers look at it (`kedge ceremony show`) and approve")


def split_name(name: str) -> dict[str, str]:
    """A serial or a number as the API takes it."""
    if name.startswith("number:"):
        return {"number": name.removeprefix("number:").lower().replace(":", "")}
    return {"serial": name}


def show_certificate(session: Session, shown: CertificateShown) -> None:
    """Its facts, one a line."""
    facts = [(name, value) for name in shown.__struct_fields__ if (value := getattr(shown, name)) not in ("", 0)]
    session.show(shown, *list_facts(f"certificate {shown.serial or shown.number}", facts))
