"""`kedge device`: device certificates, one or many, as a provisioning station asks for them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer

from api.cli.errors import FileRefused, ItemsRefused
from api.cli.files import Proven, read_file, write_file, write_proven
from api.cli.labels import show_label
from api.cli.lines import align
from api.cli.session import connect, session_of
from ceremonies.commands import BATCH_LIMIT

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, add_completion=False, callback=connect, help="Device certificates."
)
app.command("label")(show_label)

BODY_BYTES: Final = 1 << 20
"""Of a request; the API takes somewhat more (`json_limit`)."""
ITEM_BYTES: Final = 128
"""Serial, names and quotes of one item."""


class Device(msgspec.Struct, frozen=True):
    """The API's answer: PEM as text, digests in hex."""

    serial: str
    certificate: str
    chain: str
    ueid: str
    replayed: bool
    proven: Proven
    trust_set: str | None
    birth_package: str | None
    nonce: str
    lfdi: str = ""
    sfdi: str = ""


class Refusal(msgspec.Struct, frozen=True):
    """Why an item was refused; other members of the problem are not needed here."""

    code: str
    detail: str
    hint: str = ""


class Results(msgspec.Struct, frozen=True):
    """The API's answer to a batch: one raw result for each item."""

    results: tuple[msgspec.Raw, ...]


@app.command()
def issue(
    ctx: typer.Context,
    csr: Annotated[Path, typer.Argument(help="The device's CSR, PEM or DER.")],
    work_order: Annotated[str, typer.Option(help="The open work order.")],
    serial: Annotated[str, typer.Option(help="The device's serial number.")],
    out: Annotated[Path, typer.Option(help="Directory for the answer.")] = Path(),
) -> None:
    """Have a certificate issued; writes certificate, chain, journal entry and proof. May be repeated."""
    session = session_of(ctx)
    data = read_file(csr, 1 << 17)
    media_type = "application/x-pem-file" if data.startswith(b"-----BEGIN") else "application/pkcs10"
    device = session.put(f"/v1/work-orders/{work_order}/devices/{serial}", Device, data, media_type)
    files = write_device(out, serial, device)
    again = ", the same as before" if device.replayed else ""
    names = [f"LFDI {device.lfdi}, SFDI {device.sfdi}"] if device.lfdi else []
    session.show(device, f"{serial}: issued{again}", *names, *map(str, files))


@app.command("issue-all")
def issue_all(
    ctx: typer.Context,
    csrs: Annotated[Path, typer.Argument(help="A directory of CSRs, each named SERIAL.csr.")],
    work_order: Annotated[str, typer.Option(help="The open work order.")],
    out: Annotated[Path, typer.Option(help="Directory for the answers.")] = Path(),
) -> None:
    """Have all certificates of a directory issued, many in a request. May be repeated. Fails when one was refused."""
    session = session_of(ctx)
    paths = sorted(csrs.glob("*.csr"))
    if not paths:
        raise FileRefused(f"{csrs} has no file named SERIAL.csr")
    found: dict[str, Device | Refusal] = {}
    for part in split_batches(paths):
        body = {"requests": [{"serial": path.stem, "csr": read_file(path, 1 << 14)} for path in part]}
        answer = session.post(f"/v1/work-orders/{work_order}/devices", Results, body)
        for path, raw in zip(part, answer.results, strict=True):
            found[path.stem] = result = read_result(raw)
            if isinstance(result, Device):
                write_device(out, path.stem, result)
    refused = {serial: item for serial, item in found.items() if isinstance(item, Refusal)}
    rows = [(serial, "REFUSED", f"{item.code}: {item.detail}") for serial, item in refused.items()]
    session.show({"issued": len(found) - len(refused), "refused": refused}, *align(("serial", "", "why"), *rows))
    if refused:
        raise ItemsRefused(f"{len(refused)} of {len(found)} were refused", hint="the others are issued; repeat at will")


def split_batches(paths: list[Path]) -> Iterator[list[Path]]:
    """As many CSRs as one request may have: by their number, and by the bytes that they come to in JSON."""
    part: list[Path] = []
    size = 0
    for path in paths:
        more = path.stat().st_size * 4 // 3 + ITEM_BYTES
        if part and (len(part) == BATCH_LIMIT or size + more > BODY_BYTES):
            yield part
            part, size = [], 0
        part.append(path)
        size += more
    yield part


def read_result(raw: msgspec.Raw) -> Device | Refusal:
    """A device, or why there is none: a problem has a `code`."""
    if "code" in msgspec.json.decode(raw):
        return msgspec.json.decode(raw, type=Refusal)
    return msgspec.json.decode(raw, type=Device)


def write_device(out: Path, serial: str, device: Device) -> list[Path]:
    """Certificate, chain, journal entry and proof as files, named as we asked, whatever the service says."""
    return [
        write_file(out / f"{serial}.crt.pem", device.certificate.encode()),
        write_file(out / f"{serial}.chain.pem", device.chain.encode()),
        *write_proven(out, serial, device.proven),
    ]
