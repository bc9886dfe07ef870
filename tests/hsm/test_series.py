"""Many signatures of a strongbox in this process, and what happens when its sessions are lost behind its back."""

import ctypes
import secrets
from pathlib import Path

import msgspec
import pytest

from hsm.algorithms import ALGORITHMS, load_public_key, verify
from hsm.errors import KeyNotFound, PublicKeyDiffers, SignatureMismatch, StrongboxClosed, TokenUnavailable
from hsm.keys import GeneratedKey
from hsm.remote import RemoteStrongbox
from hsm.series import Box, Calm, Made
from hsm.signed import Signed
from hsm.signer import Signer
from hsm.strongbox import RELOAD_INTERVAL, Strongbox
from hsm.vault import Vault
from tests.softhsm import find_module, fresh_strongbox, open_remote

KINDS: list[type[Box]] = [Strongbox, Vault, RemoteStrongbox]
"""Held against the protocol by the type checker."""


def make_key(box: Box, token: str = "keys", algorithm: str = "p256") -> GeneratedKey:
    return box.generate(token, secrets.token_bytes(16), "k", algorithm)


def check_all(key: GeneratedKey, count: int, signed: list[Signed]) -> None:
    """Each signature is over its own number."""
    assert [item.error for item in signed] == [None] * count
    for number, item in enumerate(signed):
        verify(ALGORITHMS[key.algorithm], load_public_key(key.public_key), item.raw, b"%d" % number)


def library() -> ctypes.CDLL:
    return ctypes.CDLL(str(find_module()))


def lose_sessions(box: Strongbox) -> None:
    assert library().C_CloseAllSessions(ctypes.c_ulong(box._register.found["keys"].slot.slot_id)) == 0


def test_what_was_made_is_there() -> None:
    signed = [Signed(b"1", None, 5), Signed(error=KeyNotFound("gone"))]
    assert Made(signed).wait() is signed


def test_a_box_without_circuits_is_always_asked() -> None:
    calm = Calm()
    calm.check_ready("keys")
    calm.tend([])
    assert calm.reports == ()


def test_every_box_can_the_same(token_dir: Path) -> None:
    names = {name for name in vars(Box) if not name.startswith("_")}
    assert len(names) == 16
    for kind in KINDS:
        assert names <= set(dir(kind))
    boxes: tuple[Box, ...] = (fresh_strongbox(token_dir, ["keys"]), open_remote(token_dir, ["keys"]))
    key = make_key(boxes[0])
    for box in boxes:
        check_all(key, 3, list(box.start([(key.name, b"%d" % number) for number in range(3)]).wait()))
        box.close()


@pytest.mark.req("HS-3")
def test_a_series_signs_every_item_in_its_order(box: Strongbox) -> None:
    key = make_key(box)
    signed = list(box.start([(key.name, b"%d" % number) for number in range(20)]).wait())
    check_all(key, 20, signed)
    assert all(0 < item.us < 10_000_000 for item in signed)
    assert list(box.start([]).wait()) == []


@pytest.mark.req("HS-2")
def test_one_bad_key_fails_only_its_items(box: Strongbox) -> None:
    key, journal = make_key(box), make_key(box, "journal", "ed25519")
    other = msgspec.structs.replace(key.name, spki="0" * 64)
    missing = msgspec.structs.replace(key.name, id=secrets.token_bytes(16))
    names = [key.name, other, journal.name, missing, other, key.name]
    signed = box.start([(name, b"data") for name in names]).wait()
    kinds = [type(item.error) for item in signed]
    nothing = type(None)
    assert kinds == [nothing, PublicKeyDiffers, nothing, KeyNotFound, PublicKeyDiffers, nothing]
    assert [bool(item.raw) for item in signed] == [True, False, True, False, False, True]
    for at, made in ((0, key), (2, journal), (5, key)):
        verify(ALGORITHMS[made.algorithm], load_public_key(made.public_key), signed[at].raw, b"data")


@pytest.mark.req("HS-3")
def test_a_true_signature_over_another_item_is_not_given(box: Strongbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every item is judged by its own bytes; the key that it happened to signs no more, another key goes on."""
    ours, other = make_key(box), make_key(box)
    real, made = Signer.make, list[bytes]()

    def make(signer: Signer, data: bytes, about: object) -> bytes:
        made.append(real(signer, data, about))
        return made[0] if len(made) == 3 else made[-1]

    monkeypatch.setattr(Signer, "make", make)
    names = [ours.name, other.name, ours.name, other.name, ours.name]
    signed = box.start([(name, b"%d" % number) for number, name in enumerate(names)]).wait()
    nothing = type(None)
    assert [type(item.error) for item in signed] == [nothing, nothing, SignatureMismatch, nothing, SignatureMismatch]
    assert [bool(item.raw) for item in signed] == [True, True, False, True, False]
    for at, key in ((0, ours), (1, other), (3, other)):
        verify(ALGORITHMS[key.algorithm], load_public_key(key.public_key), signed[at].raw, b"%d" % at)
    with pytest.raises(SignatureMismatch, match="stopped earlier"):
        box.sign(ours.name, b"data")
    assert [key_id for key_id, _ in box.stopped] == [ours.name.id]


def test_lost_sessions_are_opened_again_for_every_item(box: Strongbox) -> None:
    key = make_key(box)
    items = [(key.name, b"%d" % number) for number in range(8)]
    box.start(items[:1])
    for _ in range(2):
        lose_sessions(box)
        check_all(key, 8, list(box.start(items).wait()))


def test_a_fault_in_the_middle_of_a_series_spares_what_was_made(token_dir: Path) -> None:
    """The clock is read three times for every signature: the third one finds its session gone."""
    readings: list[Strongbox] = []

    def clock() -> float:
        if readings:
            readings.append(readings[0])
        if len(readings) == 8:
            lose_sessions(readings[0])
        return 0.0

    with fresh_strongbox(token_dir, ["keys"], clock=clock) as box:
        key = make_key(box)
        items = [(key.name, b"%d" % number) for number in range(8)]
        box.start(items[:1])
        readings.append(box)
        check_all(key, 8, list(box.start(items).wait()))
        assert len(readings) > 1 + 3 * 8  # some were made twice


def test_a_lost_library_is_loaded_again_once_for_all(token_dir: Path) -> None:
    now = [1000.0]
    with fresh_strongbox(token_dir, ["keys"], clock=lambda: now[0]) as box:
        key = make_key(box)
        items = [(key.name, b"%d" % number) for number in range(4)]
        assert library().C_Finalize(None) == 0
        check_all(key, 4, list(box.start(items).wait()))
        now[0] += RELOAD_INTERVAL - 1
        assert library().C_Finalize(None) == 0
        assert [type(item.error) for item in box.start(items).wait()] == [TokenUnavailable] * 4
        now[0] += 1
        check_all(key, 4, list(box.start(items).wait()))


def test_a_closed_strongbox_starts_nothing(box: Strongbox) -> None:
    key = make_key(box)
    box.close()
    with pytest.raises(StrongboxClosed):
        box.start([(key.name, b"data")])
