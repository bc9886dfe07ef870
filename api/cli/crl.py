"""`kedge crl`: which revocation lists there are; and a list verified offline, without any service."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from api.cli.files import read_file
from api.cli.lines import align, list_facts
from api.cli.session import connect, session_of
from ceremonies.commands import RevocationsListed
from pki.x509.revocation import LIMIT, Crl, check_certificate, read_authority, verify_crl

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    callback=connect,
    help="Revocation lists: what is published, and a list verified offline.",
)
CERTIFICATE_LIMIT = 1 << 14

File = Annotated[Path, typer.Argument(help="The list, DER.")]
Issuer = Annotated[Path, typer.Option(help="The certificate of the CA, PEM or DER. It is trusted as it is.")]
Newest = Annotated[int, typer.Option(min=0, help="The number of the newest list seen before: an older one is refused.")]
Certificate = Annotated[Path, typer.Argument(help="The certificate to look up, PEM or DER.")]
GraceHours = Annotated[int, typer.Option(min=0, help="Hours for which a list counts after its end.")]


class Verified(msgspec.Struct, frozen=True):
    """A list that was verified. Times are RFC 3339."""

    number: int
    this_update: str
    next_update: str
    entries: int
    url: str


class Checked(msgspec.Struct, frozen=True):
    """A certificate's number (40 hex digits) and status."""

    number: str
    status: str


@app.command("list")
def list_lists(ctx: typer.Context) -> None:
    """The newest list of each CA and partition."""
    session = session_of(ctx)
    listed = session.get("/v1/crls", RevocationsListed)
    rows = [
        (item.path, str(item.number), str(item.entries), _stamp(item.next_update), "yes" if item.current else "no")
        for item in listed.lists
    ]
    session.show(listed, *align(("path", "number", "entries", "until", "current"), *rows))


@app.command("verify")
def verify_list(
    ctx: typer.Context, file: File, issuer: Issuer, newest: Newest = 0, grace_hours: GraceHours = 0
) -> None:
    """Verify a list. Asks no service."""
    crl = read_list(file, issuer, newest, grace_hours)
    facts = crl.facts
    span = facts.this_update.isoformat(), facts.next_update.isoformat()
    shown = Verified(facts.number, *span, len(crl.revoked), facts.url)
    told = [(name, value) for name in shown.__struct_fields__ if (value := getattr(shown, name)) != ""]
    session_of(ctx).show(shown, *list_facts("The list is the CA's and valid", told))


@app.command("check")
def check_status(ctx: typer.Context, file: File, certificate: Certificate, issuer: Issuer, newest: Newest = 0) -> None:
    """Verify a list, and look a certificate up in it; it must cover that certificate. Asks no service."""
    number = check_certificate(read_list(file, issuer, newest), read_file(certificate, CERTIFICATE_LIMIT))
    shown = Checked(f"{number:040x}", "good")
    session_of(ctx).show(shown, f"certificate {shown.number} is not revoked")


def read_list(file: Path, issuer: Path, newest: int, grace_hours: int = 0) -> Crl:
    """A list from a file. Raises CrlInvalid, CrlExpired, CrlOutdated."""
    authority = read_authority(read_file(issuer, CERTIFICATE_LIMIT))
    grace = timedelta(hours=grace_hours)
    return verify_crl(read_file(file, LIMIT), authority, datetime.now(UTC), newest=newest, grace=grace)


def _stamp(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()
