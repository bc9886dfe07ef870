"""`kedge station`: a provisioning station's own key and certificate, and stopping stations."""

from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from api.cli.errors import FileRefused
from api.cli.files import Proven, read_file, write_proven, write_secret
from api.cli.lines import align
from api.cli.provisioning.exits import HELP
from api.cli.provisioning.screen import board
from api.cli.provisioning.verbs import confirm, issue, resume, status
from api.cli.session import CERTIFICATE, KEY, Session, session_of
from ceremonies.commands import StationsListed
from pki.signatures import spki_sha256

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    help=f"What a station runs: its own certificate, units, the logbook. Officers stop stations.\n\n{HELP}",
)
for verb in (issue, confirm, resume, status, board):
    app.command()(verb)
CHAIN: Final = "chain.pem"


class StationCertificate(msgspec.Struct, frozen=True):
    """The API's answer: PEM as text."""

    station: str
    certificate: str
    chain: str
    replayed: bool
    proven: Proven


@app.callback()
def connect_station(
    ctx: typer.Context,
    url: Annotated[str, typer.Option(envvar="KEDGE_URL", help="The API, https://...")] = "",
    token_file: Annotated[str, typer.Option(envvar="KEDGE_TOKEN_FILE", help="File with a token; - for stdin.")] = "",
    ca: Annotated[Path | None, typer.Option(envvar="KEDGE_CA", help="CA certificates to trust instead.")] = None,
    identity: Annotated[
        Path | None, typer.Option(envvar="KEDGE_IDENTITY", help="The station's directory: its key and certificate.")
    ] = None,
) -> None:
    """Options before the verb: where the service is, and who asks: a station by its directory, others by a token."""
    session = session_of(ctx)
    session.url, session.token_file, session.ca, session.identity = url, token_file, ca, identity


@app.command()
def keygen(ctx: typer.Context) -> None:
    """Make the station's key, once, in the directory of --identity. Officers enrol what this prints.

    A key in a TPM or secure element is better where the station has one: then use its own tool, and its fingerprint.
    """
    session = session_of(ctx)
    directory = find_identity(session)
    path = directory / KEY
    if path.exists():
        raise FileRefused(f"{path} exists", hint="a station keeps its key; for a new one use another directory")
    key = ec.generate_private_key(ec.SECP256R1())
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_secret(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    fingerprint = spki_sha256(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    session.show(
        {"key": fingerprint, "file": str(path)},
        f"written: {path}",
        f"key {fingerprint}",
        "Have officers enrol it: a station-enrol ceremony whose plan has this key (docs/factory.md).",
    )


@app.command()
def certify(ctx: typer.Context, name: Annotated[str, typer.Argument(help="As the officers enrolled it.")]) -> None:
    """Fetch the station's certificate, the first or the next one. May be repeated, by a timer each day."""
    session = session_of(ctx)
    directory = find_identity(session)
    request = make_request(directory / KEY, name)
    # The certificate of before may have ended; the request proves possession of the key by itself.
    session.identity = None
    path = f"/v1/stations/{name}/certificate"
    issued = session.put(path, StationCertificate, request, "application/pkcs10")
    write_secret(directory / CERTIFICATE, issued.certificate.encode())
    write_secret(directory / CHAIN, issued.chain.encode())
    (directory / f"{name}.leaf.json").unlink(missing_ok=True)  # of the certificate of before
    write_proven(directory, name, issued.proven)
    again = ", the same as before: it is not near its end" if issued.replayed else ""
    session.show(issued, f"{name}: certified{again}", str(directory / CERTIFICATE))


@app.command("list")
def list_stations(ctx: typer.Context) -> None:
    """Every station and its state."""
    session = session_of(ctx)
    show_stations(session, session.get("/v1/stations", StationsListed))


@app.command()
def suspend(
    ctx: typer.Context, station: str, reason: Annotated[str, typer.Option(help="Goes into the journal.")]
) -> None:
    """Stop a station from its next request on. One officer suffices; a ceremony (station-resume) undoes it."""
    session = session_of(ctx)
    show_stations(session, session.post(f"/v1/stations/{station}/suspension", StationsListed, {"reason": reason}))


@app.command()
def revoke(
    ctx: typer.Context, station: str, reason: Annotated[str, typer.Option(help="Goes into the journal.")]
) -> None:
    """Stop a station for good. Its name is not used again."""
    session = session_of(ctx)
    show_stations(session, session.post(f"/v1/stations/{station}/revocation", StationsListed, {"reason": reason}))


def show_stations(session: Session, listed: StationsListed) -> None:
    """One line for each."""
    rows = [
        (item.station, item.state, item.plant, " ".join(item.lines), " ".join(item.classes), item.not_after, item.key)
        for item in listed.stations
    ]
    session.show(listed, *align(("station", "state", "plant", "lines", "classes", "certified until", "key"), *rows))


def find_identity(session: Session) -> Path:
    """The station's directory. Raises FileRefused when none was named."""
    if session.identity is None:
        raise FileRefused("no directory was named", hint="put --identity DIRECTORY before the verb")
    return session.identity


def make_request(path: Path, name: str) -> bytes:
    """A certification request (PKCS #10, DER) by the key in a PEM file. Raises FileRefused."""
    try:
        key = load_pem_private_key(read_file(path, 1 << 14), None)
    except (ValueError, TypeError) as error:
        raise FileRefused(f"{path} holds no private key: {error}", hint="`kedge station keygen` makes one") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise FileRefused(f"{path} holds no key on a curve", hint="`kedge station keygen` makes one")
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return request.public_bytes(Encoding.DER)
