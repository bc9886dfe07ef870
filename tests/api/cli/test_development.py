import os
import stat
from pathlib import Path

import pytest

from api.cli import development
from api.cli.development import find_softhsm, make_keyroom
from api.cli.errors import FileRefused
from ceremonies.settings import load_settings

ROLES = {"kedge-journal": ("journal",), "kedge-main": ("oem-root", "device-ca")}


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SOFTHSM2_CONF", "elsewhere")  # is put back afterwards
    make_keyroom(tmp_path, "keyroom-1", "ab" * 32, ROLES)
    return tmp_path


def test_settings_are_those_of_a_development_keyroom(room: Path) -> None:
    settings = load_settings(room / "keyroom.toml")
    assert (settings.mode, settings.node, settings.roster_sha256) == ("development", "keyroom-1", "ab" * 32)
    assert {token.label: token.roles for token in settings.tokens} == ROLES


def test_tokens_are_in_a_store_of_the_directory(room: Path) -> None:
    assert os.environ["SOFTHSM2_CONF"] == str(room / "softhsm2.conf")
    assert f"directories.tokendir = {room / 'tokens'}\n" in (room / "softhsm2.conf").read_text()
    assert len(list((room / "tokens").iterdir())) == len(ROLES)


def test_pins_are_for_their_owner_and_stand_nowhere_else(room: Path) -> None:
    pins = [room / f"{label}.{kind}" for label in ROLES for kind in ("pin", "so-pin")]
    assert {stat.S_IMODE(path.stat().st_mode) for path in pins} == {0o400}
    assert len({path.read_text() for path in pins}) == len(pins)
    text = (room / "keyroom.toml").read_text()
    assert not any(path.read_text() in text for path in pins)


def test_without_softhsm_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Path(find_softhsm()).exists()
    monkeypatch.setattr(development, "MODULES", ("/none.so",))
    with pytest.raises(FileRefused, match="SoftHSM is not installed"):
        find_softhsm()
