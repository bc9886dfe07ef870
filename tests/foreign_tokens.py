"""Tokens of other makers than SoftHSM, from the distribution's packages, each with daemons and directories of its own.

NSS softoken needs no daemon. tpm2-pkcs11 talks to a software TPM through a resource manager, which needs a message bus:
three processes, all private to the test.
"""

import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from hsm.visits import Task

_LIBRARIES = ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib")
NSS_LABEL = "NSS Certificate DB"
TPM_LABEL = "kedge"
START_S = 20

# C_InitToken and C_InitPIN in a process of their own: the library reads its environment once.
_INITIALISE = """
import sys
from pathlib import Path
from hsm.pins import PinSource
from hsm.tokens import initialise_token
module, label, so_pin, pin = sys.argv[1:]
initialise_token(Path(module), label, PinSource.from_file(Path(so_pin)), PinSource.from_file(Path(pin)))
"""


@dataclass(frozen=True, slots=True)
class ForeignToken:
    """How a token is reached: for `Task`, and the environment that its library reads."""

    module: Path
    label: str
    pin_file: Path
    parameters: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)

    def task(self, *, threads: int = 2, seconds: float = 0.1) -> Task:
        """A short examination."""
        number = secrets.token_bytes(8)
        return Task(self.module, self.label, self.pin_file, number, self.parameters, threads, seconds)


def find_library(name: str, package: str) -> Path:
    """A PKCS#11 library of the distribution. A machine without it fails the tests."""
    for place in _LIBRARIES:
        if (found := Path(place) / name).exists():
            return found
    raise FileNotFoundError(f"{name} is not installed (Debian: apt install {package})")


@contextmanager
def nss_token() -> Iterator[ForeignToken]:
    """A new NSS database, its PIN set by certutil."""
    with tempfile.TemporaryDirectory(prefix="kedge-nss-") as name:
        directory = Path(name)
        pin = _write_pin(directory / "pin")
        _run(["certutil", "-N", "-d", f"sql:{directory}", "-f", str(pin)])
        parameters = f"configdir='sql:{directory}' certPrefix='' keyPrefix='' secmod='secmod.db' flags="
        yield ForeignToken(find_library("libsoftokn3.so", "libnss3"), NSS_LABEL, pin, parameters)


@contextmanager
def tpm_token() -> Iterator[ForeignToken]:
    """A new software TPM behind its resource manager, with one initialised token."""
    module = find_library("libtpm2_pkcs11.so.1", "libtpm2-pkcs11-1")
    with tempfile.TemporaryDirectory(prefix="kedge-tpm-") as name, ExitStack() as daemons:
        directory = Path(name)
        environment = _start_tpm(directory, daemons)
        pin, so_pin = _write_pin(directory / "pin"), _write_pin(directory / "so-pin")
        arguments = ["-c", _INITIALISE, str(module), TPM_LABEL, str(so_pin), str(pin)]
        _run([sys.executable, *arguments], environment)
        yield ForeignToken(module, TPM_LABEL, pin, environment=environment)


def _start_tpm(directory: Path, daemons: ExitStack) -> dict[str, str]:
    state, store = directory / "state", directory / "store"
    state.mkdir()
    store.mkdir()
    tpm, bus = directory / "tpm", directory / "bus"
    sockets = ["--server", f"type=unixio,path={tpm}", "--ctrl", f"type=unixio,path={tpm}.ctrl"]
    flags = ["--flags", "not-need-init,startup-clear"]
    start_daemon(daemons, ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={state}", *sockets, *flags])
    wait_for(tpm)
    start_daemon(daemons, ["dbus-daemon", "--session", "--nofork", "--nopidfile", f"--address=unix:path={bus}"])
    wait_for(bus)
    environment = {"DBUS_SESSION_BUS_ADDRESS": f"unix:path={bus}"}
    root = ["--allow-root"] if os.geteuid() == 0 else []
    manager = ["tpm2-abrmd", "--session", *root, "--max-transients=100", f"--tcti=swtpm:path={tpm}"]
    start_daemon(daemons, manager, environment)
    _wait_for_manager(environment)
    return {
        **environment,
        "TPM2_PKCS11_STORE": str(store),
        "TPM2_PKCS11_TCTI": "tabrmd:bus_type=session",
        "TPM2_PKCS11_LOG_LEVEL": "0",
        "TSS2_LOG": "all+NONE",
    }


def start_daemon(daemons: ExitStack, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
    process = subprocess.Popen(
        command, env={**os.environ, **(environment or {})}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    daemons.callback(process.wait)
    daemons.callback(process.kill)


def wait_for(path: Path) -> None:
    end = time.monotonic() + START_S
    while not path.exists():
        if time.monotonic() > end:
            raise TimeoutError(f"{path} was not opened within {START_S} s")
        time.sleep(0.02)


def _wait_for_manager(environment: Mapping[str, str]) -> None:
    """The resource manager has its name on the bus."""
    names = ["dbus-send", "--session", "--print-reply", "--dest=org.freedesktop.DBus", "/org/freedesktop/DBus"]
    ask = [*names, "org.freedesktop.DBus.NameHasOwner", "string:com.intel.tss2.Tabrmd"]
    end = time.monotonic() + START_S
    while "boolean true" not in _run(ask, environment):
        if time.monotonic() > end:
            raise TimeoutError(f"tpm2-abrmd did not start within {START_S} s")
        time.sleep(0.05)


def _run(command: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
    merged = {**os.environ, **(environment or {})}
    return subprocess.run(command, env=merged, check=True, capture_output=True, text=True).stdout


def _write_pin(path: Path) -> Path:
    path.touch(mode=0o600)
    path.write_text(f"{secrets.token_hex(8)}\n")
    return path
