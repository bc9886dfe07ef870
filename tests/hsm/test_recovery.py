"""Faults made behind the strongbox's back with the library's own calls, and what the strongbox does about them."""

import ctypes
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hsm.errors import HsmError, PinUnreadable, TokenUnavailable
from hsm.faults import Fault
from hsm.keys import KeyName
from hsm.objects import handle_of
from hsm.strongbox import RELOAD_INTERVAL, Strongbox
from tests.softhsm import find_module, fresh_strongbox, open_raw_session


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def timed_box(token_dir: Path, clock: Clock) -> Iterator[Strongbox]:
    with fresh_strongbox(token_dir, ["keys"], clock=clock) as box:
        yield box


@pytest.fixture
def key(timed_box: Strongbox) -> KeyName:
    name = timed_box.generate("keys", secrets.token_bytes(16), "k", "p256").name
    timed_box.sign(name, b"data")
    return name


def library() -> ctypes.CDLL:
    return ctypes.CDLL(str(find_module()))


def slot_of(box: Strongbox) -> ctypes.c_ulong:
    return ctypes.c_ulong(box._register.found["keys"].slot.slot_id)


def test_lost_sessions_are_opened_again(timed_box: Strongbox, key: KeyName) -> None:
    for _ in range(3):
        assert library().C_CloseAllSessions(slot_of(timed_box)) == 0
        assert timed_box.sign(key, b"data")


def test_a_logout_behind_the_back_is_followed_by_a_login(timed_box: Strongbox, key: KeyName) -> None:
    session = open_raw_session("keys")
    assert library().C_Logout(ctypes.c_ulong(handle_of(session))) == 0
    assert timed_box.sign(key, b"data")


def test_an_operation_left_open_is_retried(timed_box: Strongbox, key: KeyName) -> None:
    handle = ctypes.c_ulong(handle_of(timed_box._find_seat().session("keys")))
    assert library().C_FindObjectsInit(handle, None, ctypes.c_ulong(0)) == 0
    assert timed_box.sign(key, b"data")


def test_every_request_survives_lost_sessions(timed_box: Strongbox, key: KeyName) -> None:
    def lose() -> None:
        assert library().C_CloseAllSessions(slot_of(timed_box)) == 0

    lose()
    assert timed_box.exists("keys", key.id)
    lose()
    assert len(timed_box.inventory()[0].objects) == 2
    lose()
    assert len(timed_box.random(8)) == 8
    lose()
    assert timed_box.generate("keys", secrets.token_bytes(16), "k", "p384").proof
    lose()
    assert timed_box.destroy("keys", key.id)


def test_a_finalised_library_is_loaded_again_at_most_every_thirty_seconds(
    timed_box: Strongbox, key: KeyName, clock: Clock
) -> None:
    assert library().C_Finalize(None) == 0
    assert timed_box.sign(key, b"data")
    clock.now += RELOAD_INTERVAL - 1
    assert library().C_Finalize(None) == 0
    with pytest.raises(
        TokenUnavailable, match="CKR_CRYPTOKI_NOT_INITIALIZED; the module was loaded again 29 s ago"
    ) as caught:
        timed_box.sign(key, b"data")
    assert caught.value.rv == "CKR_CRYPTOKI_NOT_INITIALIZED"
    assert caught.value.fault is Fault.RELOAD
    clock.now += 1
    assert timed_box.sign(key, b"data")


@pytest.mark.req("HS-5")
def test_a_pin_that_cannot_be_read_after_a_reload_stops_the_token(
    timed_box: Strongbox, key: KeyName, token_dir: Path
) -> None:
    pin = (token_dir / "keys.pin").read_text()
    (token_dir / "keys.pin").unlink()
    assert library().C_Finalize(None) == 0
    with pytest.raises(PinUnreadable):
        timed_box.sign(key, b"data")
    (token_dir / "keys.pin").touch(mode=0o600)
    (token_dir / "keys.pin").write_text(pin)
    with pytest.raises(PinUnreadable, match="stopped earlier"):
        timed_box.exists("keys", key.id)


def test_an_error_of_a_call_names_the_token_and_the_key(timed_box: Strongbox, key: KeyName, clock: Clock) -> None:
    assert library().C_Finalize(None) == 0
    assert timed_box.sign(key, b"data")
    assert library().C_Finalize(None) == 0
    with pytest.raises(HsmError) as caught:
        timed_box.sign(key, b"data")
    assert f"token keys, key k/{key.id.hex()}, C_SignInit: CKR_CRYPTOKI_NOT_INITIALIZED" in caught.value.message


def test_threads_that_lose_the_library_together_load_it_again_once(token_dir: Path, clock: Clock) -> None:
    """The clock stands still, so a second reload would be refused as too early."""
    with fresh_strongbox(token_dir, ["keys"], os_locking=True, clock=clock) as box:
        name = box.generate("keys", secrets.token_bytes(16), "k", "p256").name
        start = threading.Barrier(8)
        signatures: list[bytes] = []

        def sign() -> None:
            box.sign(name, b"data")
            if start.wait(30) == 0:
                assert library().C_Finalize(None) == 0
            start.wait(30)
            signatures.append(box.sign(name, b"data"))

        threads = [threading.Thread(target=sign) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert len(signatures) == 8
