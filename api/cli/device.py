"""`kedge device`: one device certificate, as a provisioning station asks for it."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from api.cli.files import Proven, read_file, write_file, write_proven
from api.cli.session import connect, session_of

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, add_completion=False, callback=connect, help="Device certificates."
)


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
    files = [
        write_file(out / f"{serial}.crt.pem", device.certificate.encode()),
        write_file(out / f"{serial}.chain.pem", device.chain.encode()),
        *write_proven(out, serial, device.proven),
    ]
    again = ", the same as before" if device.replayed else ""
    session.show(device, f"{serial}: issued{again}", *map(str, files))
