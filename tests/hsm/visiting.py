"""A visit to a fresh SoftHSM token, in this process."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hsm.module import Module
from hsm.visits import NUMBER_BYTES, Task, Visit
from tests.softhsm import find_module, make_token

LABEL = "examined"


def make_task(path: Path, *, threads: int = 2, seconds: float = 0.05) -> Task:
    """An examination of the token that `visiting` made under `path`."""
    number = secrets.token_bytes(NUMBER_BYTES)
    return Task(find_module(), LABEL, path / f"{LABEL}.pin", number, threads=threads, seconds=seconds)


@contextmanager
def visiting(path: Path, *, make: bool = True) -> Iterator[Visit]:
    """An open visit; SOFTHSM2_CONF names the token directory."""
    if make:
        make_token(path, LABEL)
    module = Module(find_module(), os_locking=True)
    try:
        yield Visit(make_task(path), module)
    finally:
        module.finalise()
