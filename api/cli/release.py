"""`kedge release`: have an image signed as a pipeline does, and verify what came back."""

import hashlib
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer
from cryptography.hazmat.primitives import serialization
from msgspec import UNSET

from api.cli.errors import FileRefused, ProofMismatch
from api.cli.files import Proven, read_file, write_file, write_proven
from api.cli.session import connect, session_of
from api.cli.verify import read_trust
from ceremonies.commands import ARTEFACT_LIMIT, RequestId, Uploaded
from pki.formats.mcuboot import read_image
from pki.formats.mcuboot_verify import verify_image
from pki.log.proofs import verify_proof

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    callback=connect,
    help="Have releases signed; verify them.",
)
IMAGE: Final = "signed.bin"
MANIFEST: Final = "manifest.cose"


class Release(msgspec.Struct, frozen=True):
    """The API's answer; image and manifest in base64."""

    id: str
    version: str
    image: bytes
    image_proven: Proven
    manifest: bytes
    manifest_proven: Proven
    replayed: bool


def check_id(text: str) -> str:
    """An idempotency key as the service takes it. Raises typer.BadParameter."""
    try:
        return msgspec.convert(text, RequestId)
    except msgspec.ValidationError:
        raise typer.BadParameter("8 to 80 letters, digits, `.`, `_`, `:` or `-`, for example build-0001") from None


@app.command()
def sign(
    ctx: typer.Context,
    image: Annotated[Path, typer.Argument(help="The unsigned MCUboot image.")],
    target: Annotated[str, typer.Argument(metavar="CLASS/CHANNEL", help="For example bms-stm32h7/stable.")],
    request: Annotated[
        str,
        typer.Option(
            "--id", callback=check_id, help="Idempotency key: your build's name, 8 to 80 characters, as build-0001."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Directory for the answer.")] = Path(),
) -> None:
    """Upload an image and have it signed; writes image, manifest, entries and proofs. May be repeated."""
    session = session_of(ctx)
    data = read_file(image, ARTEFACT_LIMIT)
    body = describe(data, target)
    session.put(f"/v1/artefacts/{body['artefact']}", Uploaded, data, "application/octet-stream")
    release = session.post("/v1/releases", Release, body, key=request)
    files = [
        write_file(out / IMAGE, release.image),
        write_file(out / MANIFEST, release.manifest),
        *write_proven(out, "signed", release.image_proven),
        *write_proven(out, "manifest", release.manifest_proven),
    ]
    session.show(release, f"{release.version}: signed{', the same as before' * release.replayed}", *map(str, files))


@app.command()
def verify(
    ctx: typer.Context,
    directory: Annotated[Path, typer.Argument(help="What `kedge release sign` wrote.")],
    key: Annotated[list[Path], typer.Option(help="Public key of the bootloader, PEM; may be repeated.")],
    trust: Annotated[Path, typer.Option(help="The journal's trust policy, from another source than DIRECTORY.")],
) -> None:
    """Check a signed image as a bootloader does, and that image and manifest are in the journal."""
    session, policy = session_of(ctx), read_trust(trust)[0]
    image = read_file(directory / IMAGE, ARTEFACT_LIMIT)
    verify_image(image, [read_spki(path) for path in key])
    entries = {}
    for name, stem in ((IMAGE, "signed"), (MANIFEST, "manifest")):
        document = hashlib.sha256(read_file(directory / name, ARTEFACT_LIMIT)).hexdigest()
        entry = read_file(directory / f"{stem}.leaf.json", 1 << 16)
        proven = verify_proof(read_file(directory / f"{stem}.tlog-proof", 1 << 19), entry, policy)
        if proven.leaf.out is UNSET or proven.leaf.out.doc != document:
            raise ProofMismatch(f"entry {proven.leaf.seq} is not about {name}", hint="it belongs to another file")
        entries[name] = proven.leaf.seq
    value: dict[str, Any] = {"version": read_image(image).version_text, "entries": entries}
    session.show(value, f"{value['version']}: verified", *(f"{name}: entry {seq}" for name, seq in entries.items()))


def describe(data: bytes, target: str) -> dict[str, Any]:
    """The request for an image: version and security counter are the image's own. Raises FileRefused."""
    class_name, _, channel = target.partition("/")
    image = read_image(data)
    counter = image.security_counter
    if not class_name or not channel or counter is None:
        raise FileRefused(
            "the target is not CLASS/CHANNEL, or the image has no security counter",
            hint="imgtool sign --security-counter N, without --key, writes one",
        )
    return {
        "class_name": class_name,
        "channel": channel,
        "version": image.version_text,
        "security_version": counter,
        "artefact": hashlib.sha256(data).hexdigest(),
    }


def read_spki(path: Path) -> bytes:
    """A PEM public key as DER SubjectPublicKeyInfo. Raises FileRefused."""
    try:
        key = serialization.load_pem_public_key(read_file(path, 1 << 16))
    except ValueError as error:
        raise FileRefused(f"{path} is no PEM public key") from error
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
