"""`kedge witness`: run a witness, for officers and customers. It needs no keyroom and no account."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.cli.errors import FileRefused
from api.cli.files import write_file
from api.cli.session import session_of

if TYPE_CHECKING:
    from api.witness.notary import Notary
    from api.witness.settings import WitnessSettings

SETTINGS = "witness.toml"
HEAD_BYTES = 16 << 10
CONNECTIONS = 64
HEAD_TIME = 10

Place = Annotated[Path, typer.Argument(help="The witness's directory, as `kedge witness init` made it.")]

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    help="Be a witness of journals: cosign their growth.",
)


@app.command("init")
def make_witness(
    ctx: typer.Context,
    directory: Annotated[Path, typer.Argument(help="A directory that is new or empty.")],
    name: Annotated[str, typer.Option(help="The witness's name for ever, for example witness.example/w1.")],
    log: Annotated[list[str] | None, typer.Option(help="Verifier key of a journal to witness.")] = None,
) -> None:
    """Make key, settings and empty records; print the verifier key for the journal's operator and for auditors."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    from api.witness.settings import load_witness, witness_vkey

    if directory.exists() and any(directory.iterdir()):
        raise FileRefused(f"{directory} is not empty", hint="a witness that exists keeps its key and its records")
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_file(directory / SETTINGS, describe_settings(name, log or []).encode())
    load_witness(directory / SETTINGS)
    key = Ed25519PrivateKey.generate()
    place = directory / "witness.key"
    place.touch(mode=0o600)
    place.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    place.chmod(0o400)
    (directory / "state").mkdir(mode=0o700)
    vkey = witness_vkey(name, key).encode()
    session_of(ctx).show(
        {"vkey": vkey, "settings": str(directory / SETTINGS)},
        vkey,
        f"list the journals in {directory / SETTINGS}, then: kedge witness run {directory}",
    )


@app.command("run")
def run_witness(directory: Place) -> None:
    """Answer submissions until told to stop."""
    import uvicorn

    from api.access import configure_log
    from api.cli.patience import TimedProtocol
    from api.witness.app import create_witness
    from api.witness.settings import load_witness

    configure_log()
    settings = load_witness(directory / SETTINGS)
    uvicorn.run(
        create_witness(open_notary(settings)),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        http=TimedProtocol,
        h11_max_incomplete_event_size=HEAD_BYTES,
        ws="none",
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=HEAD_TIME,
        timeout_graceful_shutdown=10,
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
    )


@app.command("show")
def show_witness(ctx: typer.Context, directory: Place) -> None:
    """What this witness has cosigned last, and the evidence of forks that it holds. It may run meanwhile."""
    from api.witness.records import list_evidence, origin_hash
    from api.witness.settings import load_key, load_witness, witness_vkey
    from pki.log.checkpoints import parse_checkpoint
    from pki.log.notes import parse_note

    settings = load_witness(directory / SETTINGS)
    vkey = witness_vkey(settings.name, load_key(settings.key)).encode()
    logs = []
    for origin in settings.known():
        place = settings.state / origin_hash(origin) / "checkpoint"
        size = parse_checkpoint(parse_note(place.read_bytes()).text).size if place.exists() else 0
        logs.append((origin, size, [str(item) for item in list_evidence(settings.state, origin)]))
    value = {"vkey": vkey, "logs": [{"origin": log, "size": size, "evidence": found} for log, size, found in logs]}
    lines = [f"{log}: {size} entries, {len(found)} pieces of evidence" for log, size, found in logs]
    session_of(ctx).show(value, vkey, *lines)


def open_notary(settings: "WitnessSettings") -> "Notary":
    """The witness of these settings. Raises WitnessMisconfigured."""
    from api.witness.notary import Notary
    from api.witness.records import Records
    from api.witness.settings import load_key

    key = load_key(settings.key)
    return Notary((settings.name, key), settings.known(), Records(settings.state), lambda: int(time.time()))


def describe_settings(name: str, logs: list[str]) -> str:
    """A settings file; a verifier key begins with its log's origin."""
    lines = [f'name = "{name}"', 'key = "witness.key"', 'state = "state"', 'host = "127.0.0.1"', "port = 8390"]
    for vkey in logs:
        lines += ["", "[[logs]]", f'origin = "{vkey.partition("+")[0]}"', f'vkeys = ["{vkey}"]']
    return "\n".join([*lines, ""])
