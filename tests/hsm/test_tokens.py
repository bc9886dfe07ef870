from pathlib import Path

import pytest

from hsm.errors import ModuleInUse, PinFileUnsafe, PinUnreadable, RequestInvalid, TokenExists
from hsm.strongbox import Strongbox
from hsm.tokens import TokenSettings, check_label, initialise_token
from tests.softhsm import find_module, make_token, write_pin


def test_a_new_token_opens_with_its_pin(token_dir: Path) -> None:
    settings = make_token(token_dir, "a" * 32)
    with Strongbox.open(find_module(), [settings]) as box:
        assert len(box.token_serial("a" * 32)) == 16


def test_an_existing_token_is_never_touched(token_dir: Path) -> None:
    settings = make_token(token_dir, "a")
    with Strongbox.open(find_module(), [settings]) as box:
        key = box.generate("a", bytes(16), "k", "p256")
    with pytest.raises(TokenExists, match=f"serial {key.token_serial}"):
        make_token(token_dir / "..", "a")
    with Strongbox.open(find_module(), [settings]) as box:
        assert box.sign(key.name, b"data")


def test_no_token_is_made_while_a_strongbox_is_open(box: Strongbox, token_dir: Path) -> None:
    with pytest.raises(ModuleInUse):
        make_token(token_dir, "another")


@pytest.mark.parametrize("label", ["", "a" * 33, "ä" * 17, " a", "a\n"])
def test_a_label_that_does_not_fit_is_refused(label: str) -> None:
    with pytest.raises(RequestInvalid):
        check_label(label)


def test_a_short_pin_and_an_unsafe_one_make_no_token(token_dir: Path) -> None:
    good = write_pin(token_dir / "good", "12345678")
    with pytest.raises(PinUnreadable):
        initialise_token(find_module(), "a", good, write_pin(token_dir / "short", "12"))
    unsafe = write_pin(token_dir / "unsafe", "12345678")
    (token_dir / "unsafe").chmod(0o644)
    with pytest.raises(PinFileUnsafe):
        initialise_token(find_module(), "a", good, unsafe)
    initialise_token(find_module(), "a", good, good)


def test_settings_are_values() -> None:
    assert TokenSettings.__struct_config__.frozen
