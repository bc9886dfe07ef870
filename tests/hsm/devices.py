"""Devices for tests: copies of one SoftHSM token directory, each behind a shim of its own, as places of one token."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from hsm.places import PlaceSettings
from hsm.vault import Vault
from tests.hsm.shim import Shim
from tests.softhsm import make_token_dir, saved_settings


class Clock:
    """Seconds that pass when a test says so."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def make_device(path: Path, source: Path | None = None) -> Shim:
    """A device under `path`; its tokens and PINs are copies of those under `source` when that is given."""
    if source is not None:
        shutil.copytree(source, path)
    conf = make_token_dir(path)["SOFTHSM2_CONF"]
    return Shim(path, conf=conf, alone=True)


def place_tokens(shims: Sequence[Shim], labels: Sequence[str]) -> list[PlaceSettings]:
    """Each token at each device, in this order of preference."""
    return [
        PlaceSettings(settings.name, shim.path, settings)
        for shim in shims
        for settings in saved_settings(shim.path.parent, labels)
    ]


def open_vault(shims: Sequence[Shim], labels: Sequence[str], clock: Clock, *, sessions: int = 1) -> Vault:
    """A vault over these devices."""
    return Vault.open(place_tokens(shims, labels), sessions=sessions, clock=clock)
