"""`kedge fleet`: where devices are after the factory, and what the fleet is like."""

import csv
import hashlib
import io
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer

from api.cli.errors import ItemsRefused
from api.cli.files import read_file
from api.cli.lines import align
from api.cli.report import guard
from api.cli.session import Session, connect, session_of
from ceremonies.commands import (
    STATEMENTS_LIMIT,
    CeremonyShown,
    FleetDevice,
    FleetQueried,
    ImportChecked,
    StatementsRecorded,
    StatementVerdict,
    Uploaded,
)

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    callback=connect,
    help="Devices after the factory: say where they are, ask what they are like.",
)
FILE_LIMIT: Final = 4 << 20
FILTERS: Final = (
    "serial", "class", "site", "rack", "state", "set-below", "floor-below", "floor-domain", "firmware-below",
    "silent-since",
)  # fmt: skip
TABLE: Final = ("serial", "class_name", "state", "site", "rack", "firmware", "set_index", "heard", "baseline", "alarm")

Serials = Annotated[list[str], typer.Argument(metavar="SERIAL...", help="The devices' serial numbers.")]
Serial = Annotated[str, typer.Argument(help="The device's serial number.")]
Site = Annotated[str, typer.Option(help="The site.")]
Place = Annotated[list[str], typer.Argument(metavar="NAME=VALUE...", help="Where it is.")]
Filters = Annotated[list[str] | None, typer.Argument(metavar="NAME=VALUE...", help=f"{', '.join(FILTERS)}.")]
Reason = Annotated[str, typer.Option(help="Why.")]
Key = Annotated[str, typer.Option("--id", help="Idempotency key, to repeat a request; chosen when you give none.")]


@app.command()
def ship(ctx: typer.Context, serials: Serials, site: Site = "", key: Key = "") -> None:
    """Devices leave the plant."""
    say(ctx, [{"act": "ship", "serial": serial, "site": site} for serial in serials], key)


@app.command()
def install(ctx: typer.Context, serial: Serial, place: Place, key: Key = "") -> None:
    """A device is in service: operator=NAME site=NAME, and rack= and asset= where there are."""
    fields = read_pairs(place, ("operator", "site", "rack", "asset"))
    say(ctx, [{"act": "install", "serial": serial, **fields}], key)


@app.command()
def move(ctx: typer.Context, serial: Serial, place: Place, key: Key = "") -> None:
    """A device is in service elsewhere: site=NAME, and rack= and asset= where there are."""
    say(ctx, [{"act": "move", "serial": serial, **read_pairs(place, ("site", "rack", "asset"))}], key)


@app.command()
def replace(
    ctx: typer.Context,
    serial: Serial,
    by: Annotated[str, typer.Option(help="The serial of the device that took its place.")],
    reason: Reason = "",
    key: Key = "",
) -> None:
    """Another device took a device's place."""
    say(ctx, [{"act": "replace", "serial": serial, "by": by, "reason": reason}], key)


@app.command("return")
def send_back(ctx: typer.Context, serials: Serials, reason: Reason = "", key: Key = "") -> None:
    """Devices go back to the plant."""
    say(ctx, [{"act": "return", "serial": serial, "reason": reason} for serial in serials], key)


@app.command()
def decommission(ctx: typer.Context, serials: Serials, reason: Reason, key: Key = "") -> None:
    """Devices are out of service for good: no gate waits for them."""
    say(ctx, [{"act": "decommission", "serial": serial, "reason": reason} for serial in serials], key)


@app.command("import")
def import_file(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="CSV: act,serial,operator,site,rack,asset,by,reason.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and name every bad line.")
    ] = False,
    ceremony: Annotated[str, typer.Option(help="Id of the ceremony to propose.")] = "",
    reason: Reason = "import",
) -> None:
    """Upload a file of statements, and look at it, or propose the ceremony that imports it. As an officer."""
    session = session_of(ctx)
    data = read_file(file, FILE_LIMIT)
    digest = hashlib.sha256(data).hexdigest()
    session.put(f"/v1/artefacts/{digest}", Uploaded, data, "application/octet-stream")
    checked = session.get(f"/v1/fleet/imports/{digest}", ImportChecked)
    rows = [(str(item.line), item.why) for item in checked.bad]
    if checked.bad_count:
        session.show(checked, *align(("line", "why"), *rows))
        raise ItemsRefused(f"{checked.bad_count} lines cannot be done; nothing was", hint="mend the file, then repeat")
    told = [f"{count} x {act}" for act, count in checked.acts.items()]
    if dry_run or not ceremony:
        session.show(checked, f"{digest}: {', '.join(told)}", "propose it: kedge fleet import FILE --ceremony ID")
        return
    body = {
        "id": ceremony,
        "action": "register-import",
        "plan": msgspec.json.encode({"file": digest, "reason": reason}),
    }
    session.post("/v1/ceremonies", CeremonyShown, body)
    session.show(checked, f"{ceremony}: {', '.join(told)}", f"next: kedge ceremony export {ceremony} plan step.json")


@app.command()
def query(
    ctx: typer.Context,
    filters: Filters = None,
    off_baseline: Annotated[bool, typer.Option("--off-baseline", help="Not on the newest baseline.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Comma-separated values, for a spreadsheet.")] = False,
) -> None:
    """Devices that fit every filter. What a device never said does not count in its favour."""
    given = {name.replace("-", "_"): value for name, value in read_pairs(filters or [], FILTERS).items()}
    if "class" in given:
        given["class_name"] = given.pop("class")
    if off_baseline:
        given["off_baseline"] = "true"
    session = session_of(ctx)
    devices = list(fetch_devices(session, given))
    if as_csv:
        typer.echo(write_csv(devices), nl=False)
        return
    rows = [[str(getattr(device, name)) for name in TABLE] for device in devices]
    session.show({"devices": [msgspec.to_builtins(device) for device in devices]}, *align(TABLE, *rows))


def read_pairs(texts: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """Arguments NAME=VALUE. Raises typer.BadParameter for another name, or a name twice."""
    found: dict[str, str] = {}
    for text in texts:
        name, _, value = text.partition("=")
        if name not in names or not value or name in found:
            raise typer.BadParameter(f"{text!r} is none of {', '.join(f'{item}=...' for item in names)}, each once")
        found[name] = value
    return found


def fetch_devices(session: Session, given: dict[str, str]) -> Iterator[FleetDevice]:
    """All pages."""
    after: dict[str, str] = {}
    while True:
        page = session.get("/v1/fleet", FleetQueried, **given, **after)
        yield from page.devices
        if not page.following:
            return
        after = {"after": page.following}


def write_csv(devices: Sequence[FleetDevice]) -> str:
    """RFC 4180 with a heading; no cell is a formula."""
    buffer = io.StringIO()
    names = FleetDevice.__struct_fields__
    rows = ([guard(_cell(getattr(device, name))) for name in names] for device in devices)
    csv.writer(buffer).writerows([names, *rows])
    return buffer.getvalue()


def _cell(value: Any) -> Any:
    return " ".join(f"{name}:{item}" for name, item in value.items()) if isinstance(value, dict) else value


def say(ctx: typer.Context, statements: list[dict[str, str]], key: str) -> None:
    """Record statements, 1,000 in a request. Raises ItemsRefused when one was refused; the others are recorded."""
    session, base = session_of(ctx), key or f"cli-{secrets.token_hex(8)}"
    found: list[StatementVerdict] = []
    for part, start in enumerate(range(0, len(statements), STATEMENTS_LIMIT)):
        body = {"statements": statements[start : start + STATEMENTS_LIMIT]}
        name = f"{base}-{part}" if part else base
        found += session.post("/v1/fleet/statements", StatementsRecorded, body, key=name).verdicts
    rows = [(item.serial, item.state, f"REFUSED {item.code}: {item.message}" if item.code else "") for item in found]
    session.show({"id": base, "verdicts": found}, *align(("serial", "state", ""), *rows))
    if refused := sum(bool(item.code) for item in found):
        raise ItemsRefused(f"{refused} of {len(found)} were refused", hint="the others are recorded")
