"""A strongbox in another process does what one in this process does."""

import os
import secrets
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hsm.algorithms import ALGORITHMS, load_public_key, verify
from hsm.errors import (
    HsmError,
    KeyNotFound,
    ModuleUnloadable,
    PinIncorrect,
    PinUnreadable,
    PublicKeyDiffers,
    RequestInvalid,
    SignatureMismatch,
    StrongboxEnded,
    TokenNotFound,
)
from hsm.keys import GeneratedKey, KeyName, Signed
from hsm.remote import RemoteSeries, RemoteStrongbox, read_signed
from hsm.series import Box
from hsm.wire import Opening, Place, Result
from tests.hsm.intruders import import_key
from tests.softhsm import (
    find_module,
    fresh_strongbox,
    make_token,
    open_raw_session,
    open_remote,
    open_tokens,
    write_pin,
)

LABELS = ("keys", "journal")


@pytest.fixture
def box(token_dir: Path) -> Iterator[RemoteStrongbox]:
    """On two fresh tokens, `keys` and `journal`."""
    for label in LABELS:
        make_token(token_dir, label)
    opened = open_remote(token_dir, LABELS)
    yield opened
    opened.close()


def make_key(box: Box, token: str = "keys", algorithm: str = "p256") -> GeneratedKey:
    return box.generate(token, secrets.token_bytes(16), "k", algorithm)


def check(key: GeneratedKey, signature: bytes, data: bytes) -> None:
    verify(ALGORITHMS[key.algorithm], load_public_key(key.public_key), signature, data)


def kinds(signed: list[Signed]) -> list[type]:
    return [type(item.error) for item in signed]


# --- the same as here


def observe(call: Callable[[], Any]) -> object:
    """What a call returns, or all that its error says."""
    try:
        return call()
    except HsmError as error:
        return type(error), error.message, error.hint, error.rv, error.fault, str(error)


def describe_generated(key: GeneratedKey) -> object:
    check(key, key.proof, key.challenge)
    return type(key), key.name.token, key.name.label, key.algorithm, key.token_serial, dict(key.attributes)


def ask_everything(box: Box, made: GeneratedKey, foreign: KeyName) -> list[object]:
    """Every method, with what it takes and what it refuses; nothing is left changed."""
    name, key_id = made.name, secrets.token_bytes(16)
    absent = KeyName("keys", bytes(16), "0" * 64, "absent")
    calls: list[Callable[[], Any]] = [
        lambda: box.sign(name, b"data"),  # Ed25519: the same bytes every time
        lambda: box.sign(name, b""),
        lambda: box.sign(absent, b"data"),
        lambda: box.sign(foreign, b"data"),
        lambda: box.sign(foreign, b"data"),  # stopped earlier
        lambda: box.sign(msgspec.structs.replace(name, spki="0" * 64), b"data"),
        lambda: box.sign(msgspec.structs.replace(name, token="other"), b"data"),
        lambda: box.exists("keys", name.id),
        lambda: box.exists("keys", key_id),
        lambda: box.exists("keys", b"short"),
        lambda: box.exists("other", name.id),
        lambda: describe_generated(box.generate("keys", key_id, "ü", "p384")),
        lambda: box.destroy("keys", key_id),
        lambda: box.destroy("keys", key_id),
        lambda: box.destroy("keys", b""),
        lambda: box.generate("keys", name.id, "k", "p256"),
        lambda: box.generate("keys", b"\1" * 16, "k", "rsa"),
        lambda: box.generate("keys", b"\1" * 16, "k" * 65, "p256"),
        lambda: box.generate("other", b"\1" * 16, "k", "p256"),
        box.inventory,
        lambda: len(box.random(1024)),
        lambda: box.random(0),
        lambda: box.random(1025),
        lambda: box.token_serial("keys"),
        lambda: box.token_serial("other"),
        lambda: box.is_software,
        lambda: [
            item.raw or observe(partial(fail, item))
            for item in box.start([(name, b"1"), (absent, b"2"), (name, b"3")]).wait()
        ],
        lambda: list(box.start([]).wait()),
    ]
    return [observe(call) for call in calls]


def fail(item: Signed) -> None:
    assert item.error
    raise item.error


@pytest.mark.req("HS-4")
def test_it_does_the_same_and_refuses_the_same(token_dir: Path) -> None:
    with fresh_strongbox(token_dir, LABELS) as here:
        made = make_key(here, algorithm="ed25519")
        foreign = import_key(open_raw_session("keys"), secrets.token_bytes(16), "foreign")
    with open_tokens(token_dir, LABELS) as here:
        expected = ask_everything(here, made, foreign)
    there = open_remote(token_dir, LABELS)
    found = ask_everything(there, made, foreign)
    there.close()
    assert [type(answer) for answer in found] == [type(answer) for answer in expected]
    assert found == expected
    assert len([answer for answer in found if isinstance(answer, tuple) and isinstance(answer[0], type)]) >= 14


@pytest.mark.req("HS-3")
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_signatures_verify(box: RemoteStrongbox, algorithm: str) -> None:
    key = make_key(box, "journal", algorithm)
    for data in (b"", b"x", bytes(300_000)):
        check(key, box.sign(key.name, data), data)


# --- series


@pytest.mark.req("HS-2", "HS-3")
def test_a_series_signs_in_order_and_a_bad_key_fails_only_its_item(box: RemoteStrongbox) -> None:
    key, journal = make_key(box), make_key(box, "journal", "ed25519")
    bad = msgspec.structs.replace(key.name, spki="0" * 64)
    absent = msgspec.structs.replace(key.name, id=bytes(16))
    names = {3: bad, 7: absent, 8: journal.name}
    signed = list(box.start([(names.get(number, key.name), b"%d" % number) for number in range(21)]).wait())
    assert len(signed) == 21
    for number, item in enumerate(signed):
        assert type(item.error) is {3: PublicKeyDiffers, 7: KeyNotFound}.get(number, type(None))
        if item.error is None:
            check(journal if number == 8 else key, item.raw, b"%d" % number)
            assert 0 < item.us < 10_000_000
        else:
            assert item.raw == b""


def test_series_are_waited_for_in_any_order(box: RemoteStrongbox) -> None:
    key = make_key(box)
    series = [box.start([(key.name, b"%d %d" % (turn, item)) for item in range(9)]) for turn in range(3)]
    for turn in (2, 0, 1):
        for item, signed in enumerate(series[turn].wait()):
            check(key, signed.raw, b"%d %d" % (turn, item))


def test_a_call_is_answered_while_a_series_is_under_way(box: RemoteStrongbox) -> None:
    key = make_key(box)
    series = box.start([(key.name, b"data")] * 400)
    assert len(box.random(8)) == 8
    assert box._replies == {}  # the series' reply would have come first
    assert kinds(list(series.wait())) == [type(None)] * 400


def test_a_call_is_answered_while_another_thread_waits_for_a_series(box: RemoteStrongbox) -> None:
    key = make_key(box)
    series = box.start([(key.name, b"data")] * 400)
    done = threading.Event()
    results: list[Signed] = []

    def wait() -> None:
        results.extend(series.wait())
        done.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    while not box._receiving:
        time.sleep(0.001)
    for _ in range(3):
        assert len(box.random(8)) == 8
    assert not done.is_set()
    waiting.join(60)
    assert kinds(results) == [type(None)] * 400


def test_each_thread_gets_its_own_answers(box: RemoteStrongbox) -> None:
    serials = {label: box.token_serial(label) for label in LABELS}
    wrong: list[str] = []
    done: list[str] = []

    def ask(label: str) -> None:
        wrong.extend(found for _ in range(100) if (found := box.token_serial(label)) != serials[label])
        done.append(label)

    threads = [threading.Thread(target=ask, args=(label,)) for label in LABELS * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (wrong, len(done)) == ([], 8)
    assert box._replies == {}


def test_too_few_signatures_are_none(box: RemoteStrongbox) -> None:
    key = make_key(box)
    number = box._send("sign_all", [(key.name, b"data")])
    assert kinds(list(RemoteSeries(box, number, 2).wait())) == [SignatureMismatch] * 2


def test_a_result_is_read_back() -> None:
    assert read_signed(Result(b"raw", 4)) == Signed(b"raw", None, 4)


def test_a_request_that_is_too_long_fails_alone(box: RemoteStrongbox) -> None:
    key = make_key(box)
    with pytest.raises(RequestInvalid, match="a message of"):
        box.sign(key.name, bytes((64 << 20) + 1))
    check(key, box.sign(key.name, b"data"), b"data")


# --- beginning and end


def open_with(path: Path, ended: list[int], *places: Place, module: Path | None = None) -> RemoteStrongbox:
    tokens = places or (Place("keys", path / "keys.pin", ("oem-root",)),)
    return RemoteStrongbox(Opening(module or find_module(), tokens, 10), ended.append)


@pytest.mark.req("HS-5")
@pytest.mark.parametrize(
    ("label", "pin", "module", "error"),
    [
        ("keys", "missing", "", PinUnreadable),
        ("keys", "wrong", "", PinIncorrect),
        ("other", "keys.pin", "", TokenNotFound),
        ("", "keys.pin", "", RequestInvalid),
        ("keys", "keys.pin", "/nowhere.so", ModuleUnloadable),
    ],
)
def test_what_fails_the_opening_arrives_and_leaves_no_process(
    token_dir: Path, monkeypatch: pytest.MonkeyPatch, label: str, pin: str, module: str, error: type[HsmError]
) -> None:
    make_token(token_dir, "keys")
    write_pin(token_dir / "wrong", "wrong-pin-4711")
    ended: list[int] = []
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def start(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
        started.append(popen(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", start)
    with pytest.raises(HsmError) as caught:
        open_with(token_dir, ended, Place(label, token_dir / pin), module=Path(module) if module else None)
    assert type(caught.value) is error
    assert caught.value.rv == ("CKR_PIN_INCORRECT" if error is PinIncorrect else "")
    assert [process.returncode for process in started] == [0]
    assert ended == []


def test_a_warden_that_is_killed_is_told_once_and_every_call_fails(token_dir: Path) -> None:
    made = fresh_strongbox(token_dir, ["keys"])
    key = make_key(made)
    made.close()
    ended: list[int] = []
    box = open_with(token_dir, ended)
    series = box.start([(key.name, b"data")] * 2_000)
    os.kill(box.process.pid, signal.SIGKILL)
    assert kinds(list(series.wait())) == [StrongboxEnded] * 2_000
    calls: list[Callable[[], Any]] = [
        lambda: box.sign(key.name, b"data"),
        lambda: box.start([(key.name, b"data")]),
        lambda: box.exists("keys", key.name.id),
        lambda: box.random(8),
        lambda: box.is_software,
        box.inventory,
    ]
    for call in calls * 2:
        with pytest.raises(StrongboxEnded):
            call()
    for _ in range(500):
        if ended:
            break
        time.sleep(0.01)
    box.close()
    time.sleep(0.1)
    assert ended == [-signal.SIGKILL]


def test_all_who_wait_hear_of_the_end(box: RemoteStrongbox) -> None:
    key = make_key(box)
    series = [box.start([(key.name, b"data")] * 5_000) for _ in range(3)]
    found: list[list[type]] = []

    def wait(one: RemoteSeries) -> None:
        found.append(kinds(list(one.wait())))

    threads = [threading.Thread(target=wait, args=(one,)) for one in series]
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    box.process.kill()
    for thread in threads:
        thread.join(30)
    assert found == [[StrongboxEnded] * 5_000] * 3


def test_close_ends_the_process_and_tells_nobody(token_dir: Path) -> None:
    make_token(token_dir, "keys")
    ended: list[int] = []
    box = open_with(token_dir, ended)
    box.close()
    assert box.process.returncode == 0
    box.close()
    with pytest.raises(StrongboxEnded):
        box.random(8)
    time.sleep(0.1)
    assert ended == []


def test_close_does_not_wait_for_a_long_series(box: RemoteStrongbox) -> None:
    key = make_key(box)
    series = box.start([(key.name, b"data")] * 20_000)
    box.close()
    assert box.process.returncode == 0
    assert kinds(list(series.wait())) == [StrongboxEnded] * 20_000


def test_the_process_outlives_the_thread_that_started_it(token_dir: Path) -> None:
    make_token(token_dir, "keys")
    opened: list[RemoteStrongbox] = []
    thread = threading.Thread(target=lambda: opened.append(open_remote(token_dir, ["keys"])))
    thread.start()
    thread.join(30)
    time.sleep(0.1)
    assert len(opened[0].random(8)) == 8
    opened[0].close()
