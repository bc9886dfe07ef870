"""`kedge key`: what keys there are, their public halves, and the emergency stop."""

import enum
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from api.cli.errors import FileRefused
from api.cli.files import read_file, write_file
from api.cli.lines import align
from api.cli.session import Session, connect, read_answer, session_of
from ceremonies.commands import HealthShown, KeyShown, KeysListed, ListKeys, ShowHealth
from pki.log.notes import LOG_KEY, VerifierKey
from pki.log.policy import MAX_POLICY, parse_policy
from pki.signatures import load_spki

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    callback=connect,
    help="List keys; export public halves; stop a key at once.",
)


NO_QUORUM: Final = "quorum none\n"


class Form(enum.StrEnum):
    """How a public key is written."""

    PEM = "pem"
    VKEY = "vkey"
    TLOG_POLICY = "tlog-policy"


class Readiness(msgspec.Struct, frozen=True):
    """What this command needs of the API's answer: the journal's name."""

    origin: str


@app.command("list")
def list_keys(ctx: typer.Context) -> None:
    """Every key and its state."""
    session = session_of(ctx)
    show_keys(session, fetch_keys(session))


@app.command()
def suspend(
    ctx: typer.Context, label: str, reason: Annotated[str, typer.Option(help="Goes into the journal.")]
) -> None:
    """Stop a key at once. One officer suffices; to start it again takes a ceremony."""
    session = session_of(ctx)
    show_keys(session, session.post(f"/v1/keys/{label}/suspension", KeysListed, {"reason": reason}))


@app.command("export")
def export_key(
    ctx: typer.Context,
    label: str,
    form: Annotated[Form, typer.Option("--format", help="vkey and tlog-policy are for the journal's key.")] = Form.PEM,
    witnesses: Annotated[
        Path | None, typer.Option(help="tlog-policy: the witnesses and the quorum that auditors shall demand.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="File to write; printed when absent.")] = None,
) -> None:
    """The public half of a key: `pem` for a bootloader, `tlog-policy` is the FILE of `kedge verify --trust FILE`."""
    session = session_of(ctx)
    keys = fetch_keys(session).keys
    key = next((key for key in keys if key.label == label), None)
    if key is None or not key.public_key:
        raise FileRefused(
            f"no public key {label} is handed out", hint="`kedge key list` names them; recovery keys stay unpublished"
        )
    origin = fetch_origin(session) if form is not Form.PEM else ""
    quorum = read_file(witnesses, MAX_POLICY).decode(errors="replace") if witnesses else NO_QUORUM
    if form is Form.TLOG_POLICY:  # during an overlap, both keys that sign
        others = [item for item in keys if (item.role, item.state) == ("journal", "active") and item.label != label]
        quorum = "".join([*(f"log {render_key(item, Form.VKEY, origin)}" for item in others), quorum])
    text = render_key(key, form, origin, quorum)
    if out is not None:
        write_file(out, text.encode())
    told = f"written: {out}" if out else text.rstrip("\n")
    session.show({"label": label, "format": form.value, "text": text, "file": str(out) if out else None}, told)


def fetch_keys(session: Session) -> KeysListed:
    """Every key, over the socket when one was given, else over HTTP."""
    if session.socket is not None:
        return session.ask(ListKeys(), KeysListed)
    return session.get("/v1/keys", KeysListed)


def fetch_origin(session: Session) -> str:
    """The journal's name, over the socket when one was given, else over HTTP."""
    if session.socket is not None:
        return session.ask(ShowHealth(), HealthShown).origin
    # In the middle of genesis the keyroom is not ready (503), and witnesses need its key then.
    return read_answer(session.send("GET", "/readyz", also=(503,)), Readiness).origin


def render_key(key: KeyShown, form: Form, origin: str, quorum: str = NO_QUORUM) -> str:
    """A public key as PEM (RFC 7468), as a C2SP verifier key, or as a C2SP tlog-policy whose lines go on with `quorum`.

    Raises FileRefused, TrustPolicyInvalid.
    """
    public = load_spki(key.public_key)
    if form is Form.PEM:
        return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    if key.role != "journal" or not isinstance(public, Ed25519PublicKey):
        raise FileRefused(f"{key.label} has role {key.role}", hint="only the journal's key signs checkpoints; use pem")
    vkey = VerifierKey(origin, LOG_KEY, public.public_bytes_raw()).encode()
    if form is Form.VKEY:
        return f"{vkey}\n"
    text = f"log {vkey}\n{quorum}"
    parse_policy(text.encode())
    return text


def show_keys(session: Session, keys: KeysListed) -> None:
    """Keys as JSON or as a table. Checkpoints are not counted as uses, so the journal's key has a dash there."""
    head = ("label", "role", "scope", "algorithm", "state", "uses", "spki")
    rows = [(key.label, key.role, key.scope, key.algorithm, _state(key), _uses(key), key.spki) for key in keys.keys]
    session.show(keys, *align(head, *rows))


def _state(key: KeyShown) -> str:
    return key.state if key.standing in ("", "issuing") else f"{key.state}, {key.standing}"


def _uses(key: KeyShown) -> str:
    return "-" if key.role == "journal" else str(key.uses)
