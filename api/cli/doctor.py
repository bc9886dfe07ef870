"""`kedge doctor`: how a keyroom's place is, or with --token what a PKCS#11 token can do. It uses no key of Kedge.

Exit statuses: 0 well, 1 warnings, 2 something fails, 3 something could not be looked at.
The strongbox is imported by the functions that need it: `kedge serve` must never load PKCS#11, not even by accident.
"""

import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from api.cli.errors import DoctorMisled, FileRefused
from api.cli.lines import align
from api.cli.session import Session, session_of
from ceremonies.client import KeyroomAddress, ask_once
from ceremonies.commands import HealthShown, ShowHealth
from ceremonies.errors import KeyroomError
from ceremonies.settings import KeyroomSettings, load_settings
from ceremonies.words import spell_digest

if TYPE_CHECKING:
    from ceremonies.checkups import Checked, Grade
    from hsm.visits import Task

STATUS: "Final[dict[Grade, int]]" = {"well": 0, "warning": 1, "failing": 2, "unknown": 3}
NUMBER_BYTES: Final = 8
API_SETTINGS: Final = "KEDGE_API_"
PARAMETERS: Final = "KEDGE_MODULE_PARAMETERS"
"""What the library gets at C_Initialize, where it takes its configuration there (NSS)."""

Settings = Annotated[
    Path | None, typer.Option(envvar="KEDGE_KEYROOM_SETTINGS", help="The keyroom's settings file (TOML).")
]
Token = Annotated[str, typer.Option(help="Examine the token with this label instead; with --module and --pin-file.")]
ModuleFile = Annotated[Path | None, typer.Option(help="The token's PKCS#11 library.")]
PinFile = Annotated[Path | None, typer.Option(help="A file with the user PIN, mode 0400. The PIN is tried once.")]


def examine(
    ctx: typer.Context,
    settings: Settings = None,
    token: Token = "",
    module: ModuleFile = None,
    pin_file: PinFile = None,
) -> None:
    """Look at software, settings, database, disk, clock, witnesses, tokens, and at the API where it has settings
    (KEDGE_API_...); or at one token, with keys of its own.
    """
    if token or module or pin_file:
        if not (token and module and pin_file):
            raise DoctorMisled("a token is examined with all of --token, --module and --pin-file")
        from hsm.visits import Task

        number, parameters = os.urandom(NUMBER_BYTES), os.environ.get(PARAMETERS, "")
        examine_token(session_of(ctx), Task(module, token, pin_file, number, parameters))
        return
    look_around(session_of(ctx), settings)


def look_around(session: Session, settings: Path | None) -> None:
    """Every check of the keyroom's place, as a table or as JSON; then the exit status."""
    from ceremonies.checkups import Checked
    from ceremonies.software import software_sha256

    digest = software_sha256()
    checks = [
        Checked("software", "well", digest),
        Checked("words", "well", " ".join(spell_digest(bytes.fromhex(digest)))),
        *check_tools(),
    ]
    if settings is not None:
        checks += check_settings(settings)
    if any(name.startswith(API_SETTINGS) for name in os.environ):
        checks += check_api()
    tell(session, checks, {"software_sha256": digest})


def examine_token(session: Session, task: "Task") -> None:
    """The conformance suite on one token, in a process of its own; then the exit status."""
    from ceremonies.checkups import Checked
    from hsm.examination import examine_token as examine_it

    progress = sys.stderr.isatty() and not session.json
    findings = examine_it(task, watch=lambda step: progress and print(f"{step} ...", file=sys.stderr))
    words = {value: word for word, value in STATUS.items()}
    checks = [Checked(item.check, words[item.grade], item.said) for item in findings]
    figures = {item.check: item.figures for item in findings if item.figures}
    tell(session, checks, {"token": task.token, "module": str(task.module), "figures": figures})


def tell(session: Session, checks: "list[Checked]", beside: dict[str, object]) -> None:
    """Show the checks, and end with the status of the worst."""
    from ceremonies.checkups import find_worst

    worst = find_worst(checks)
    rows = [(item.check, item.grade if item.grade == "well" else item.grade.upper(), item.found) for item in checks]
    found = {item.check: {"grade": item.grade, "found": item.found} for item in checks}
    session.show({**beside, "grade": worst, "findings": found}, *align(("what", "", "found"), *rows))
    raise typer.Exit(STATUS[worst])


def check_tools() -> "Iterator[Checked]":
    """Programs that people need beside Kedge."""
    from ceremonies.checkups import Checked

    for name in ("ssh-keygen", "openssl"):
        place = shutil.which(name)
        yield Checked(name, "well" if place else "failing", place or "not on PATH")


def check_settings(path: Path) -> "Iterator[Checked]":
    """The settings, and what they name."""
    from ceremonies.checkups import Checked, check_mode, check_place

    try:
        settings = load_settings(path)
    except KeyroomError as error:
        yield Checked("settings", "failing", str(error))
        return
    yield Checked("settings", "well", f"{path}, mode {settings.mode}")
    yield check_mode("settings' permissions", path, secret=False)
    for token in settings.tokens:
        yield check_mode(f"PIN of {token.label}", token.pin_file, secret=True)
    yield from check_place(settings, time.time_ns() // 1000)
    yield check_keyroom("socket", settings.socket, f"kedge keyroom --settings {path}")
    yield from check_module(settings)


def check_module(settings: KeyroomSettings) -> "Iterator[Checked]":
    """The PKCS#11 library loads and has the tokens. Nobody logs in."""
    from ceremonies.checkups import Checked
    from hsm.errors import HsmError
    from hsm.module import Module

    try:
        module = Module(settings.module)
    except HsmError as error:
        yield Checked("module", "failing", str(error))
        return
    yield Checked("module", "well", str(settings.module))
    try:
        for token in settings.tokens:
            try:
                serial = module.find_token(token.label).serial.decode().strip()
                yield Checked(f"token {token.label}", "well", f"serial {serial}")
            except HsmError as error:
                yield Checked(f"token {token.label}", "failing", str(error))
    finally:
        module.finalise()


def check_api() -> "Iterator[Checked]":
    """The API's settings in the environment, its certificates, and whether the keyroom answers where they say."""
    from api.cli.serve import read_settings
    from ceremonies.checkups import Checked, check_end, check_tls

    try:
        settings = read_settings({})
    except FileRefused as error:
        yield Checked("api", "failing", str(error))
        return
    yield Checked("api", "well", f"listens on {settings.host}:{settings.port}")
    now_us, place = time.time_ns() // 1000, settings.place
    if settings.tls_cert is not None:
        yield check_end("api's certificate", settings.tls_cert, now_us)
    if isinstance(place, KeyroomAddress):
        yield from check_tls("api to keyroom", place.files, f"{place.address}, {place.name}", now_us, server=False)
    yield check_keyroom("api's keyroom", place, "kedge keyroom, on its machine")


def check_keyroom(check: str, place: Path | KeyroomAddress, start: str) -> "Checked":
    """The keyroom answers, and can use its keys. `start`: how it is started."""
    from ceremonies.checkups import Checked

    try:
        health = ask_once(place, ShowHealth(), timeout=10)
    except KeyroomError as error:
        return Checked(check, "failing", f"{error}; start it: {start}")
    if not isinstance(health, HealthShown):
        return Checked(check, "failing", "the keyroom answered something else")
    problems = "; ".join(health.problems)
    if health.ready:
        return Checked(check, "warning", f"ready; {problems}") if problems else Checked(check, "well", "ready")
    return Checked(check, "failing", f"not ready: {problems}")
