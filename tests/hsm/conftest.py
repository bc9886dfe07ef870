"""Real tokens: every test that asks gets a token directory of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hsm.strongbox import Strongbox
from tests.softhsm import fresh_strongbox, make_token_dir


@pytest.fixture
def token_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty SoftHSM token directory, named by SOFTHSM2_CONF for the length of the test."""
    for name, value in make_token_dir(tmp_path).items():
        monkeypatch.setenv(name, value)
    return tmp_path


@pytest.fixture
def box(token_dir: Path) -> Iterator[Strongbox]:
    """A strongbox on two fresh tokens, `keys` and `journal`."""
    with fresh_strongbox(token_dir, ["keys", "journal"]) as opened:
        yield opened
