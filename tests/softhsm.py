"""SoftHSM for tests: a token directory of their own, and a strongbox on fresh tokens in it.

SoftHSM reads SOFTHSM2_CONF at C_Initialize. A strongbox finalises the library when it is closed, so tests that follow
each other in one process each get their own directory; two at a time cannot be had in one process.
"""

import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pkcs11
from pkcs11._pkcs11 import lib

from hsm.module import Module
from hsm.pins import PinSource
from hsm.remote import RemoteStrongbox
from hsm.strongbox import Strongbox
from hsm.templates import TolerantMapper
from hsm.tokens import TokenSettings, initialise_token
from hsm.wire import Opening, Place

_PLACES = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
)


def find_module() -> Path:
    """The SoftHSM library. A machine without it fails the tests, it does not skip them."""
    for place in map(Path, _PLACES):
        if place.exists():
            return place
    raise FileNotFoundError(
        f"SoftHSM 2 is not installed (Debian: apt install softhsm2); looked at {', '.join(_PLACES)}"
    )


def make_token_dir(path: Path) -> dict[str, str]:
    """An empty token directory under `path`, and the environment that makes SoftHSM use it."""
    tokens = path / "tokens"
    tokens.mkdir(mode=0o700, parents=True, exist_ok=True)
    configuration = path / "softhsm2.conf"
    configuration.write_text(
        f"directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n"
    )
    return {"SOFTHSM2_CONF": str(configuration)}


def write_pin(path: Path, pin: str) -> PinSource:
    """A PIN file that only its owner can read."""
    path.touch(mode=0o600)
    path.write_text(f"{pin}\n")
    return PinSource.from_file(path)


def make_token(path: Path, label: str) -> TokenSettings:
    """A fresh token in the directory of SOFTHSM2_CONF; its PINs, drawn at random, in files under `path`."""
    pin = write_pin(path / f"{label}.pin", secrets.token_hex(8))
    initialise_token(find_module(), label, write_pin(path / f"{label}.so-pin", secrets.token_hex(8)), pin)
    return TokenSettings(label=label, pin=pin)


def fresh_strongbox(
    path: Path, labels: Sequence[str], *, os_locking: bool = False, clock: Callable[[], float] | None = None
) -> Strongbox:
    """A strongbox on fresh tokens under `path`; the caller closes it before the next one. Sets SOFTHSM2_CONF."""
    os.environ.update(make_token_dir(path))
    settings = [make_token(path, label) for label in labels]
    if clock is None:
        return Strongbox.open(find_module(), settings, os_locking=os_locking)
    return Strongbox.open(find_module(), settings, os_locking=os_locking, clock=clock)


def saved_settings(path: Path, labels: Sequence[str]) -> list[TokenSettings]:
    """The settings of tokens that `make_token` made under `path`."""
    return [TokenSettings(label=label, pin=PinSource.from_file(path / f"{label}.pin")) for label in labels]


def open_tokens(path: Path, labels: Sequence[str]) -> Strongbox:
    """A strongbox on the tokens that `fresh_strongbox` made under `path`, or on a copy of them. Sets SOFTHSM2_CONF.

    A keyroom asks it from two threads: the writer's and the finisher's.
    """
    os.environ.update(make_token_dir(path))
    return Strongbox.open(find_module(), saved_settings(path, labels), os_locking=True)


def open_remote(path: Path, labels: Sequence[str], deadline_s: float = 10) -> RemoteStrongbox:
    """As `open_tokens`, in a process of its own."""
    os.environ.update(make_token_dir(path))
    places = tuple(Place(label, find_module(), label, path / f"{label}.pin") for label in labels)
    return RemoteStrongbox(Opening(places, deadline_s))


@contextmanager
def enter_token(path: Path, label: str) -> Iterator[pkcs11.Session]:
    """A session with a token under `path` whose strongbox is open in another process."""
    module = Module(find_module())
    try:
        pin = (path / f"{label}.pin").read_text().strip()
        yield module.find_token(label).open(rw=True, user_pin=pin, attribute_mapper=TolerantMapper())
    finally:
        module.finalise()


class _Initialised(lib):
    def initialize(self) -> None:
        """The strongbox of this process has done it."""


def open_raw_session(label: str) -> pkcs11.Session:
    """A session behind the strongbox's back, in its process while it is open: what an intruder there could do."""
    token = _Initialised(str(find_module())).get_token(token_label=label)
    return token.open(rw=True, attribute_mapper=TolerantMapper())
