"""`kedge init`: a directory with all that a keyroom for development needs, up to the plan of its genesis."""

import json
import shlex
import subprocess
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from api.cli.errors import FileRefused
from api.cli.files import read_file, write_file
from api.cli.session import session_of

ISSUER: Final = "https://issuer.development.example"
DEMO_OFFICERS: Final = ("alice", "bob", "carol")
URL: Final = "http://127.0.0.1:8300"


def create(
    ctx: typer.Context,
    directory: Annotated[Path, typer.Argument(help="A directory that is new or empty.")],
    officer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=PUBKEYFILE",
            help="An officer and their SSH public key; at least two. Without any, three throw-away keys are made.",
        ),
    ] = None,
) -> None:
    """Development: write settings, PINs, roster, policy, genesis plan and token issuer, and make SoftHSM tokens."""
    from api.cli.demo.plans import TOKENS, genesis_plan, make_development_policy
    from api.cli.development import find_softhsm, make_keyroom
    from api.cli.token import make_issuer
    from ceremonies.officers import Roster

    keys = [read_officer(text) for text in officer or ()]
    if len({name for name, _ in keys}) == 1:
        raise FileRefused("one officer cannot decide anything", hint="give --officer NAME=PUBKEYFILE for two or more")
    if directory.exists() and not (directory.is_dir() and not any(directory.iterdir())):
        raise FileRefused(f"{directory} is not an empty directory", hint="name another, or remove it")
    roster = Roster(make_officers(keys)) if keys else None  # a wrong key is told before anything is written
    find_softhsm()
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if roster is None:
        roster = Roster(make_officers([make_demo_key(directory / "officers", name) for name in DEMO_OFFICERS]))
    policy = make_development_policy(ISSUER, make_issuer(directory / "issuer"))
    write_file(directory / "roster.json", roster.document)
    write_file(directory / "policy.json", policy.document)
    _write_json(directory / "genesis.json", genesis_plan(roster, policy))
    names = [item.id for item in roster.officers]
    for name, claims in example_claims(names).items():
        _write_json(directory / f"claims/{name}.json", claims)
    make_keyroom(directory, "keyroom-development", roster.digest, TOKENS)
    value = {"directory": str(directory), "roster_sha256": roster.digest, "officers": names, "demo_keys": not keys}
    session_of(ctx).show(value, *describe(shlex.quote(str(directory.resolve())), roster.digest, names, demo=not keys))


def read_officer(text: str) -> tuple[str, str]:
    """Name and public key of NAME=PUBKEYFILE. Raises FileRefused."""
    name, _, path = text.partition("=")
    if not name or not path:
        raise FileRefused(f"{text!r} is not NAME=PUBKEYFILE", hint="for example alice=alice.pub")
    line = read_file(Path(path), 1 << 14).decode(errors="replace").split()
    if "PRIVATE" in line:
        raise FileRefused(f"{path} is a private key", hint="Kedge needs the public half, PUBKEYFILE is its .pub file")
    return name, " ".join(line[:2])


def make_demo_key(directory: Path, name: str) -> tuple[str, str]:
    """A throw-away SSH key without a passphrase; name and public half. Raises FileRefused."""
    directory.mkdir(mode=0o700, exist_ok=True)
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"demo-{name}", "-f", str(directory / name)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise FileRefused(f"ssh-keygen: {error}", hint="install OpenSSH 8.2 or newer") from error
    return read_officer(f"{name}={directory / name}.pub")


def make_officers(keys: list[tuple[str, str]]) -> Any:
    """The officers of a roster, sorted by id; several keys of one name are one person's."""
    from ceremonies.officers import Officer

    owned: dict[str, list[str]] = {}
    for name, line in keys:
        owned.setdefault(name, []).append(line)
    return tuple(Officer(name, f"officer-{name}", tuple(owned[name]), ("officer",)) for name in sorted(owned))


def example_claims(officers: list[str]) -> dict[str, dict[str, Any]]:
    """Claims for `kedge token issue`, by file name: one for each role, and one for each officer."""
    from api.cli.demo.issuer import AUDIENCE
    from api.cli.demo.plans import CLASS, PLANT, REPOSITORY

    def claims(role: str, subject: str, **more: Any) -> dict[str, Any]:
        return {"iss": ISSUER, "aud": AUDIENCE, "sub": subject, "role": role, **more}

    found = {f"officer-{name}": claims("officer", f"staff:{name}", officer=name) for name in officers}
    return {
        **found,
        "station": claims("station", f"station:{PLANT}-line-1", plant=PLANT, **{"class": CLASS}),
        "pipeline": claims("pipeline", "repo:acme/bms-firmware", **REPOSITORY),
        "auditor": claims("auditor", "auditor:1"),
        "gateway": claims("gateway", f"gateway:{PLANT}-1"),
        "operator": claims("operator", "operator:1", plant=PLANT, site=f"{PLANT}-1"),
    }


def describe(directory: str, digest: str, names: list[str], *, demo: bool) -> list[str]:
    """What was made, and the commands that come next. `directory` is absolute and quoted for a shell."""
    warning = [
        "WARNING: the officers' keys are throw-away demo keys without a passphrase, made here by ssh-keygen, in",
        f"  {directory}/officers. Whoever reads them is all officers. For anything but a look give --officer.",
        "",
    ]
    key = f"{directory}/officers/{{}}" if demo else "THEIR-SSH-KEY"
    socket, url = f"--socket {directory}/keyroom.sock", f"--url {URL}"
    lines = [
        f"A keyroom for development is in {directory}; its SoftHSM tokens are in {directory}/tokens.",
        f"roster_sha256 {digest}",
        "",
        "Start keyroom and API, in a terminal of their own:",
        f"  export SOFTHSM2_CONF={directory}/softhsm2.conf",
        f"  kedge up --settings {directory}/keyroom.toml",
        "Genesis: every officer signs the step plan, then the step results.",
        f"  kedge ceremony {socket} genesis genesis {directory}/genesis.json",
    ]
    for step in ("plan", "results"):
        sheet = f"{directory}/genesis-{step}"
        lines.append(f"  kedge ceremony {socket} export genesis {step} {sheet}.json")
        for name in names:
            lines.append(f"  kedge officer approve {sheet}.json --officer {name} --key {key.format(name)}")
            lines.append(f"  kedge ceremony {socket} decide genesis {step} {sheet}-{name}.json")
        lines.append(f"  kedge ceremony {socket} execute genesis {step}")
    token = f"{directory}/{names[0]}.token"
    lines += [
        "A token of ten minutes, and a first question (claims/ has an example for each role):",
        f"  kedge token issue {directory}/issuer {directory}/claims/officer-{names[0]}.json --out {token}",
        f"  kedge key {url} --token-file {token} list",
    ]
    return [*(warning if demo else ()), *lines]


def _write_json(path: Path, value: object) -> None:
    write_file(path, json.dumps(value, indent=1).encode() + b"\n")
