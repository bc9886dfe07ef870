"""A strongbox in another process does what one in this process does."""

import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hsm import remote, warden
from hsm.algorithms import ALGORITHMS, load_public_key, verify
from hsm.circuit import FAILURES
from hsm.errors import (
    CallFailed,
    CircuitOpen,
    HsmError,
    KeyAltered,
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
from hsm.keys import GeneratedKey, KeyName
from hsm.places import PlaceSettings
from hsm.remote import RemoteSeries, RemoteStrongbox, read_signed
from hsm.series import Box
from hsm.signed import Signed
from hsm.vault import Vault
from hsm.wire import OPENING_DEADLINES, Opening, Place, Result
from tests.hsm.intruders import import_key
from tests.hsm.shim import FOREVER, Shim
from tests.softhsm import (
    find_module,
    fresh_strongbox,
    make_token,
    open_raw_session,
    open_remote,
    saved_settings,
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
    places = [PlaceSettings(settings.name, find_module(), settings) for settings in saved_settings(token_dir, LABELS)]
    with closing(Vault.open(places)) as vault:
        expected = ask_everything(vault, made, foreign)
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


def open_with(path: Path, ended: list[int], *places: Place) -> RemoteStrongbox:
    return RemoteStrongbox(Opening(places or (place_at(path),), 10), ended.append)


def place_at(path: Path, **changes: Any) -> Place:
    """The token `keys` under a path, in SoftHSM."""
    return msgspec.structs.replace(Place("keys", find_module(), "keys", path / "keys.pin", ("oem-root",)), **changes)


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
        changes = {"label": label, "pin_file": token_dir / pin} | ({"module": Path(module)} if module else {})
        open_with(token_dir, ended, place_at(token_dir, **changes))
    assert type(caught.value) is error
    assert caught.value.rv == ("CKR_PIN_INCORRECT" if error is PinIncorrect else "")
    assert [process.returncode for process in started] == [0]
    assert ended == []


@pytest.mark.req("HS-9")
@pytest.mark.parametrize("waiting", ["an answer", "room to ask"])
def test_a_warden_that_stands_still_is_killed(
    token_dir: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], waiting: str
) -> None:
    """Outside a PKCS#11 call its watchdog does not help: that stands still, too."""
    monkeypatch.setattr(remote, "measure_silence", lambda _: 0.5)
    make_token(token_dir, "keys")
    ended: list[int] = []
    box = open_with(token_dir, ended)
    assert len(box.random(8)) == 8
    os.kill(box.process.pid, signal.SIGSTOP)
    asked = [box.start([(KeyName("keys", bytes(16), "0" * 64, "k"), b"data")])]
    with ThreadPoolExecutor(3) as pool:
        if waiting == "an answer":
            others = [pool.submit(box.random, 8) for _ in range(2)]
            assert kinds(list(asked[0].wait())) == [StrongboxEnded]
        else:
            others = [pool.submit(box.sign, KeyName("keys", bytes(16), "0" * 64, "k"), bytes(8 << 20))]
        assert [type(other.exception(30)) for other in others] == [StrongboxEnded] * len(others)
    assert ended == [-signal.SIGKILL]
    assert capfd.readouterr().err.startswith("the process that holds the tokens stands still: it is killed")
    box.close()


def test_a_warden_may_be_silent_for_calls_that_take_their_deadline_and_for_openings() -> None:
    places = (Place("a", Path("m.so"), "a", Path("pin")), Place("b", Path("m.so"), "b", Path("pin")))
    assert remote.measure_silence(Opening(places, 10)) == 10 * (remote.CALLS + 2 * OPENING_DEADLINES)
    assert remote.CALLS > 2 * warden.PART


def test_a_warden_that_is_killed_is_told_once_and_every_call_fails(token_dir: Path) -> None:
    made = fresh_strongbox(token_dir, ["keys"])
    key = make_key(made)
    made.close()
    ended: list[int] = []
    box = open_with(token_dir, ended)
    series = box.start([(key.name, b"data")] * 2_000)
    os.kill(box.process.pid, signal.SIGKILL)
    assert kinds(list(series.wait())) == [StrongboxEnded] * 2_000
    assert ended == [-signal.SIGKILL]  # before anybody could record a failure
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


def test_both_ends_may_send_more_than_their_socket_holds(box: RemoteStrongbox) -> None:
    """The replies to these calls fill the socket before anybody reads one, and so do the calls."""
    numbers: list[int] = []
    sending = threading.Thread(
        target=lambda: numbers.extend(box._send("random", 1024) for _ in range(5_000)), daemon=True
    )
    sending.start()
    sending.join(60)
    assert not sending.is_alive(), "both ends wait for each other"
    assert all(len(box._read(number, bytes)) == 1024 for number in numbers)
    assert len(numbers) == 5_000


@pytest.mark.req("HS-9")
def test_a_token_that_rests_is_refused_without_a_question(token_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal's token fails, so nothing may be signed; a probe finds out when it is back."""
    with fresh_strongbox(token_dir, LABELS) as made:
        key, journal, probe = make_key(made), make_key(made, "journal"), make_key(made, "journal")
    shim = Shim(token_dir, alone=True)
    popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda _, **options: popen([sys.executable, "-c", HASTY], **options))
    places = (
        place_at(token_dir),
        place_at(token_dir, token="journal", label="journal", module=shim.path, pin_file=token_dir / "journal.pin"),
    )
    box = RemoteStrongbox(Opening(places, 10, vital=("journal",)))
    try:
        assert [report.is_open for report in box.reports] == [False, False]
        check(journal, box.sign(journal.name, b"data"), b"data")
        shim.fail("C_Sign", "CKR_FUNCTION_FAILED", times=FOREVER)
        assert kinds(list(box.start([(journal.name, b"data")] * FAILURES).wait())) == [CallFailed] * FAILURES
        assert [(report.token, report.is_open) for report in box.reports] == [("keys", False), ("journal", True)]
        check(key, box.sign(key.name, b"data"), b"data")
        calls = shim.all_calls()
        with monkeypatch.context() as silent:
            silent.setattr(box, "_post", None)
            for token in LABELS:
                with pytest.raises(CircuitOpen, match=r"journal.*rests after 5 failures.*FUNCTION_FAILED") as caught:
                    box.check_ready(token)
                assert caught.value.details == {"retry_after": 1}
        assert shim.all_calls() == calls
        time.sleep(0.4)
        box.tend([probe.name])
        assert (box.reports[1].probes, box.reports[1].failed_probes) == (1, 1)
        shim.heal()
        time.sleep(0.4)
        box.tend([probe.name])
        box.check_ready("keys")
        check(journal, box.sign(journal.name, b"data"), b"data")
        shim.fail("C_SignInit", "CKR_KEY_CHANGED")
        with pytest.raises(KeyAltered):
            box.sign(journal.name, b"data")
        ((key_id, why),) = box.stopped
        assert (key_id, "CKR_KEY_CHANGED" in why) == (journal.name.id, True)
    finally:
        box.close()


HASTY = """
import socket, sys
from hsm import circuit, warden
circuit.PAUSE = 0.3
warden.main(socket.socket(fileno=sys.stdin.fileno()))
"""


@pytest.mark.req("HS-4", "T40")
def test_a_warden_with_sessions_signs_a_series_side_by_side(token_dir: Path) -> None:
    with fresh_strongbox(token_dir, ["keys"]) as made:
        key = make_key(made)
    shim = Shim(token_dir)
    box = RemoteStrongbox(Opening((place_at(token_dir, module=shim.path),), 10, sessions=16))
    try:
        box.start([(key.name, b"warm")] * 64).wait()
        shim.delay("C_Sign", 100, times=FOREVER)
        started = time.monotonic()
        signed = list(box.start([(key.name, b"%d" % number) for number in range(32)]).wait())
        assert time.monotonic() - started < 1.6, "signatures of 100 ms followed each other"
        for number, item in enumerate(signed):
            check(key, item.raw, b"%d" % number)
    finally:
        box.close()


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


def test_memos_travel(box: RemoteStrongbox) -> None:
    assert box.write_memo("journal", "note", b"first") == 0
    assert box.write_memo("journal", "note", b"second") == 1
    assert box.read_memos("journal", "note") == (b"second",)
    with pytest.raises(RequestInvalid):
        box.write_memo("journal", "note", b"")
