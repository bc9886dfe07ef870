"""The shim itself: it is below python-pkcs11 and ctypes alike, and without a rule it changes nothing."""

import secrets
import time
from pathlib import Path

import pytest

from hsm.errors import HsmError
from hsm.strongbox import Strongbox
from tests.hsm.shim import FUNCTIONS, HANG, Shim
from tests.softhsm import fresh_strongbox, make_token, make_token_dir, saved_settings


def test_calls_of_both_ways_into_the_library_are_counted(token_dir: Path) -> None:
    settings = make_token(token_dir, "keys")
    shim = Shim(token_dir)
    with Strongbox.open(shim.path, [settings]) as box:
        key = box.generate("keys", secrets.token_bytes(16), "k", "p256").name
        before = shim.all_calls()
        box.sign(key, b"data")
        box.sign(key, b"data")
        assert shim.calls("C_Sign") == before["C_Sign"] + 2
        box.random(8)
        assert shim.calls("C_GenerateRandom") == before["C_GenerateRandom"] + 1


def test_a_chosen_call_fails_and_the_next_does_not(token_dir: Path) -> None:
    settings = make_token(token_dir, "keys")
    shim = Shim(token_dir)
    with Strongbox.open(shim.path, [settings]) as box:
        shim.fail("C_GenerateRandom", "CKR_HOST_MEMORY", skip=1)
        assert box.random(8)
        with pytest.raises(HsmError, match="C_GenerateRandom: CKR_HOST_MEMORY"):
            box.random(8)
        assert box.random(8)
        shim.fail("C_GenerateRandom", 0x80000001, times=2)
        for _ in range(2):
            with pytest.raises(HsmError, match="CKR_0x80000001"):
                box.random(8)
        shim.delay("C_GenerateRandom", 50)
        started = time.monotonic()
        assert box.random(8)
        assert time.monotonic() - started >= 0.05


def test_a_lost_answer_is_a_call_that_was_done(token_dir: Path) -> None:
    settings = make_token(token_dir, "keys")
    shim = Shim(token_dir)
    with Strongbox.open(shim.path, [settings]) as box:
        shim.fail("C_GenerateKeyPair", "CKR_FUNCTION_FAILED", after=True)
        with pytest.raises(HsmError, match="CKR_FUNCTION_FAILED"):
            box.generate("keys", bytes(16), "k", "p256")
        assert shim.calls("C_DestroyObject") == 2


def test_two_shims_are_two_devices(tmp_path: Path) -> None:
    """Each with a token directory of its own, in one process at one time."""
    boxes = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        fresh_strongbox(tmp_path / name, ["keys"]).close()
    for name in ("a", "b"):
        conf = make_token_dir(tmp_path / name)["SOFTHSM2_CONF"]
        shim = Shim(tmp_path / name, conf=conf, alone=True)
        boxes.append(Strongbox.open(shim.path, saved_settings(tmp_path / name, ["keys"])))
    first, second = boxes
    assert first.token_serial("keys") != second.token_serial("keys")
    key = first.generate("keys", bytes(16), "k", "p256").name
    assert first.sign(key, b"data")
    assert not second.exists("keys", key.id)
    first.close()
    assert second.generate("keys", bytes(16), "k", "p256").name != key
    second.close()


def test_a_shim_without_its_control_file_is_no_module(tmp_path: Path) -> None:
    shim = Shim(tmp_path)
    shim.path.with_name("shim.so.control").unlink()
    with pytest.raises(HsmError, match="C_GetFunctionList: CKR_GENERAL_ERROR"):
        Strongbox.open(shim.path, saved_settings(tmp_path, ["keys"]))


def test_the_table_is_the_function_list() -> None:
    assert (len(FUNCTIONS), FUNCTIONS[43], FUNCTIONS[67], HANG) == (68, "C_Sign", "C_WaitForSlotEvent", 2**64 - 1)
