"""A device's label: its text, and the same as a QR code (ISO/IEC 18004) in SVG."""

import io
from pathlib import Path
from typing import Annotated

import segno
import typer

from api.cli.files import write_file
from api.cli.session import session_of
from ceremonies.commands import LabelShown


def show_label(
    ctx: typer.Context,
    serial: Annotated[str, typer.Argument(help="The device's serial number.")],
    svg: Annotated[Path | None, typer.Option(help="Write the QR code there.")] = None,
) -> None:
    """What stands on a device's label: serial, class, LFDI where there is one."""
    session = session_of(ctx)
    label = session.get(f"/v1/fleet/labels/{serial}", LabelShown)
    if svg is not None:
        write_file(svg, draw_label(label.text))
    session.show(label, label.text, *([f"written: {svg}"] if svg else []))


def draw_label(text: str) -> bytes:
    """SVG with the quiet zone of 4 modules; error correction Q, of which a quarter may be scratched away."""
    buffer = io.BytesIO()
    segno.make_qr(text, error="q").save(buffer, kind="svg", scale=4, border=4, light="white")
    return buffer.getvalue()
