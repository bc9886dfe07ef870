"""A keyroom's directory for development and for the demo: settings, PINs, SoftHSM's configuration, tokens."""

import json
import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from api.cli.errors import FileRefused
from api.cli.files import write_secret
from ceremonies.process import make_tokens
from ceremonies.settings import load_settings

SETTINGS: Final = "keyroom.toml"
SOFTHSM_CONF: Final = "softhsm2.conf"
STORE: Final = "tokens"
SOCKET: Final = "keyroom.sock"
MODULES: Final = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
)


def make_keyroom(directory: Path, node: str, roster_sha256: str, tokens: Mapping[str, Sequence[str]]) -> None:
    """Write what a keyroom needs and make its tokens: label to roles. The journal key has a token of its own.

    Sets SOFTHSM2_CONF in this process. Raises FileRefused without SoftHSM, SettingsInvalid, and what SoftHSM says.
    """
    store = directory.resolve() / STORE
    store.mkdir(mode=0o700)
    configuration = directory.resolve() / SOFTHSM_CONF
    configuration.write_text(f"directories.tokendir = {store}\nobjectstore.backend = file\nlog.level = ERROR\n")
    lines = [
        'origin = "kedge.example/journal"', f'node = "{node}"', 'data = "data"', 'public = "public"',
        f'socket = "{SOCKET}"', f'module = "{find_softhsm()}"', f'roster_sha256 = "{roster_sha256}"',
        r'witnesses = "quorum none\n"',
    ]  # fmt: skip
    for label, roles in tokens.items():
        for kind in ("pin", "so-pin"):
            write_secret(directory / f"{label}.{kind}", secrets.token_hex(12).encode())
            (directory / f"{label}.{kind}").chmod(0o400)
        lines += [
            "", "[[tokens]]", f'label = "{label}"', f'pin_file = "{label}.pin"', f'so_pin_file = "{label}.so-pin"',
            f"roles = {json.dumps(roles)}",
        ]  # fmt: skip
    (directory / SETTINGS).write_text("\n".join(lines) + "\n")
    os.environ["SOFTHSM2_CONF"] = str(configuration)
    make_tokens(load_settings(directory / SETTINGS))


def find_softhsm() -> str:
    """SoftHSM's library. Raises FileRefused."""
    for path in MODULES:
        if Path(path).exists():
            return path
    raise FileRefused("SoftHSM is not installed", hint="apt-get install softhsm2")
