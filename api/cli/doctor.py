"""`kedge doctor`: what is installed here, and whether a keyroom could start. It uses no key.

The strongbox is imported by the functions that need it: `kedge serve` must never load PKCS#11, not even by accident.
"""

import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from api.cli.errors import DoctorFound
from api.cli.lines import align
from api.cli.session import session_of
from ceremonies.client import ask_once
from ceremonies.commands import HealthShown, ShowHealth
from ceremonies.errors import KeyroomError
from ceremonies.settings import KeyroomSettings, load_settings
from ceremonies.words import spell_digest

Finding = tuple[str, bool, str]


def examine(
    ctx: typer.Context,
    settings: Annotated[
        Path | None, typer.Option(envvar="KEDGE_KEYROOM_SETTINGS", help="The keyroom's settings file (TOML).")
    ] = None,
) -> None:
    """Print the software's digest, which officers compare, and check settings, module, tokens and socket."""
    from ceremonies.software import software_sha256

    digest = software_sha256()
    findings: list[Finding] = [
        ("software", True, digest),
        ("words", True, " ".join(spell_digest(bytes.fromhex(digest)))),
    ]
    findings += check_tools()
    if settings is not None:
        findings += check_settings(settings)
    rows = [(what, "ok" if good else "WRONG", found) for what, good, found in findings]
    value = {what: {"ok": good, "found": found} for what, good, found in findings}
    session_of(ctx).show({"software_sha256": digest, "findings": value}, *align(("what", "", "found"), *rows))
    wrong = [what for what, good, _ in findings if not good]
    if wrong:
        raise DoctorFound(f"wrong: {', '.join(wrong)}", hint="the table says what was found")


def check_tools() -> Iterator[Finding]:
    """Programs that people need beside Kedge."""
    for name in ("ssh-keygen", "openssl"):
        place = shutil.which(name)
        yield name, place is not None, place or "not on PATH"


def check_settings(path: Path) -> Iterator[Finding]:
    """The settings, and what they name."""
    try:
        settings = load_settings(path)
    except KeyroomError as error:
        yield "settings", False, str(error)
        return
    yield "settings", True, f"{path}, mode {settings.mode}"
    for token in settings.tokens:
        yield check_pin(token.label, token.pin_file)
    yield check_socket(settings.socket, path)
    yield from check_module(settings)


def check_pin(label: str, path: Path) -> Finding:
    """A PIN file is there, and nobody else can read it. Its content stays unread."""
    name = f"PIN of {label}"
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        return name, False, f"{path}: {error.strerror}; create it with the PIN, chmod 0400"
    return name, mode & 0o077 == 0, f"{path}, mode {mode:04o}"


def check_module(settings: KeyroomSettings) -> Iterator[Finding]:
    """The PKCS#11 library loads and has the tokens. Nobody logs in."""
    from hsm.errors import HsmError
    from hsm.module import Module

    try:
        module = Module(settings.module)
    except HsmError as error:
        yield "module", False, str(error)
        return
    yield "module", True, str(settings.module)
    try:
        for token in settings.tokens:
            try:
                yield f"token {token.label}", True, f"serial {module.find_token(token.label).serial.decode().strip()}"
            except HsmError as error:
                yield f"token {token.label}", False, str(error)
    finally:
        module.finalise()


def check_socket(path: Path, settings: Path) -> Finding:
    """The keyroom answers, and can use its keys."""
    try:
        health = ask_once(path, ShowHealth(), timeout=10)
    except KeyroomError as error:
        return "socket", False, f"{error}; start it: kedge keyroom --settings {settings}"
    if not isinstance(health, HealthShown):
        return "socket", False, "the keyroom answered something else"
    return "socket", health.ready, "ready" if health.ready else f"not ready: {'; '.join(health.problems)}"
