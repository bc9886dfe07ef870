"""The process that holds the tokens: when it ends, what it does not listen to, and what nobody sees of it."""

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from hsm import remote, warden, wire
from hsm.errors import KeyNotFound, StrongboxEnded
from hsm.keys import KeyName
from hsm.pins import PinSource
from hsm.remote import RemoteStrongbox
from hsm.series import Box
from hsm.signed import Signed
from hsm.vault import Vault
from hsm.wire import HUNG, Ask, Done, Failed, Opening, Place, Result, State
from tests.hsm.shim import Shim
from tests.softhsm import fresh_strongbox, make_token, open_remote

ROOT = Path(__file__).parents[2]


@pytest.fixture
def pin(token_dir: Path) -> bytes:
    """The PIN of a fresh token `keys`."""
    make_token(token_dir, "keys")
    return (token_dir / "keys.pin").read_bytes().strip()


@pytest.fixture
def box(pin: bytes, token_dir: Path) -> Iterator[RemoteStrongbox]:
    opened = open_remote(token_dir, ["keys"])
    yield opened
    opened.close()


def is_running(pid: int) -> bool:
    """A process that has ended and waits for init to notice does not run."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def wait_until_ended(pid: int) -> None:
    for _ in range(500):
        if not is_running(pid):
            return
        time.sleep(0.02)
    raise AssertionError(f"process {pid} runs on")


# --- ends


WATCHED = """
import sys, time
from hsm.warden import watch_calls
class Box:
    in_call_since = time.monotonic() - 100 if sys.argv[1] == "hung" else None
    opening_since = None
    calls = ("token keys, C_Sign",)
watch_calls(Box(), 0.4)
time.sleep(1.5)
"""


class Watched:
    in_call_since: float | None = None
    opening_since: float | None = None
    calls: tuple[str, ...] = ()


@pytest.mark.req("HS-9")
def test_a_call_has_its_deadline_and_an_opening_several() -> None:
    seen = Watched()
    assert not warden.is_overdue(seen, 10.0, 1000.0)
    seen.in_call_since = 995.0
    assert not warden.is_overdue(seen, 10.0, 1005.0)
    assert warden.is_overdue(seen, 10.0, 1005.1)
    seen.in_call_since, seen.opening_since = None, 1000.0
    assert not warden.is_overdue(seen, 10.0, 1000.0 + wire.OPENING_DEADLINES * 10.0)
    assert warden.is_overdue(seen, 10.0, 1030.1)


@pytest.mark.req("HS-9")
@pytest.mark.parametrize("function", ["C_Initialize", "C_Login"])
def test_an_opening_that_hangs_ends_the_process(
    pin: bytes, token_dir: Path, capfd: pytest.CaptureFixture[str], function: str
) -> None:
    shim = Shim(token_dir)
    shim.hang(function)
    ended: list[int] = []
    with pytest.raises(StrongboxEnded):
        RemoteStrongbox(Opening((Place("keys", shim.path, "keys", token_dir / "keys.pin"),), 0.2), ended.append)
    assert ended == [HUNG]
    assert capfd.readouterr().err == f"a PKCS#11 call hangs: opening module {shim.path}\n"


@pytest.mark.req("HS-9")
@pytest.mark.parametrize(("state", "status"), [("hung", HUNG), ("idle", 0)])
def test_a_hung_call_ends_the_process(state: str, status: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, state], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == status, done.stderr
    assert done.stderr == ("a PKCS#11 call hangs: token keys, C_Sign\n" if state == "hung" else "")


KEYROOM = """
import sys, time
from pathlib import Path
from hsm.keys import KeyName
from tests.softhsm import open_remote
box = open_remote(Path(sys.argv[1]), ["keys"])
if len(sys.argv) > 2:
    key = KeyName("keys", bytes.fromhex(sys.argv[2]), sys.argv[3], "k")
    series = box.start([(key, b"data")] * 20_000)
    box.random(8)
print(box.process.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("busy", [False, True])
def test_the_warden_ends_with_a_keyroom_that_is_killed(token_dir: Path, busy: bool) -> None:
    with fresh_strongbox(token_dir, ["keys"]) as made:
        name = made.generate("keys", secrets.token_bytes(16), "k", "p256").name
    command = [sys.executable, "-c", KEYROOM, str(token_dir), *((name.id.hex(), name.spki) if busy else ())]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as keyroom:
        assert keyroom.stdout
        pid = int(keyroom.stdout.readline())
        assert is_running(pid)
        keyroom.kill()
    wait_until_ended(pid)


HANGING = """
import socket, sys, time
from hsm import warden
warden.open_vault = lambda opening: time.sleep(60)
warden.main(socket.socket(fileno=sys.stdin.fileno()))
"""


def test_a_call_under_way_does_not_keep_the_warden_when_the_keyroom_has_gone() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, subprocess.Popen([sys.executable, "-c", HANGING], cwd=ROOT, stdin=theirs.fileno()) as hanging:
        theirs.close()
        wire.send(ours, wire.Opening((), 10))
        ours.shutdown(socket.SHUT_WR)  # the keyroom wants it to end, and waits
        with pytest.raises(subprocess.TimeoutExpired):
            hanging.wait(timeout=1)
        ours.close()
        assert hanging.wait(timeout=10) == 0


SILENT = """
import socket
from hsm.warden import main
ours, theirs = socket.socketpair()
ours.shutdown(socket.SHUT_WR)
main(theirs)
"""


def test_a_keyroom_that_says_nothing_opens_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SILENT], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_signals_do_not_end_the_warden(box: RemoteStrongbox) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        for _ in range(3):
            box.process.send_signal(number)
        assert len(box.random(8)) == 8
    assert os.getsid(box.process.pid) == box.process.pid  # a key on the keyroom's terminal does not reach it
    box.close()
    assert box.process.returncode == 0


# --- shows nothing


@pytest.mark.req("HS-5")
def test_no_pin_passes(pin: bytes, token_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames: list[bytes] = []

    def send(connection: socket.socket, message: object) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            wire.send(ours, message)
            frames.append(theirs.recv(1 << 16))
        wire.send(connection, message)

    def receive(connection: socket.socket) -> bytes | None:
        body = wire.receive(connection)
        frames.append(body or b"")
        return body

    monkeypatch.setattr(remote, "send", send)
    monkeypatch.setattr(remote, "receive", receive)
    box = open_remote(token_dir, ["keys"])
    key = box.generate("keys", secrets.token_bytes(16), "k", "p256").name
    assert box.start([(key, b"data")]).wait()[0].raw
    box.inventory()
    with pytest.raises(KeyNotFound):
        box.sign(KeyName("keys", bytes(16), "0" * 64, "k"), b"data")
    shown = {"arguments": Path(f"/proc/{box.process.pid}/cmdline").read_bytes(), "frames": b"\n".join(frames)}
    with contextlib.suppress(PermissionError):  # nobody but root may look there
        shown["environment"] = Path(f"/proc/{box.process.pid}/environ").read_bytes()
    shown["inherited"] = repr(dict(os.environ)).encode()
    box.close()
    assert len(frames) >= 10
    assert b"hsm.warden" in shown["arguments"]
    assert str(token_dir / "keys.pin").encode() in shown["frames"]
    assert {name: pin in text for name, text in shown.items() if pin in text} == {}


SECLUDED = """
import ctypes
from hsm.warden import seclude
library = ctypes.CDLL(None)
before = library.prctl(3, 0, 0, 0, 0)  # PR_GET_DUMPABLE
seclude()
print(before, library.prctl(3, 0, 0, 0, 0))
"""


@pytest.mark.req("HS-5")
def test_nobody_can_attach_to_the_warden(box: RemoteStrongbox) -> None:
    """PR_SET_DUMPABLE 0 gives the files of the process to root, whoever runs it, and leaves no core file."""
    assert Path(f"/proc/{box.process.pid}/environ").stat().st_uid == 0
    done = subprocess.run(
        [sys.executable, "-c", SECLUDED], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "1 0\n"), done.stderr


# --- answers


def test_what_may_be_asked_is_what_a_vault_does() -> None:
    asked = {*warden.methods(Vault([])), "start", "close", "check_ready", "stopped", "reports"}
    assert asked == {name for name in vars(Box) if not name.startswith("_")}
    assert asked == {
        name for name in vars(remote.RemoteStrongbox) if not name.startswith("_") and name != "read_series"
    }


def test_a_warden_that_signs_for_long_says_that_it_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the parts of a series, whatever the token's speed."""
    monkeypatch.setattr(warden, "BREATH_S", 0.0)
    items = [(KeyName("keys", bytes(16), "0" * 64, "absent"), b"data")] * (3 * warden.PART)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        wire.send(ours, Ask(1, "sign_all", msgspec.Raw(msgspec.msgpack.encode([items]))))
        serving = threading.Thread(target=warden.Warden(Vault([]), theirs).serve)
        serving.start()
        said = [msgspec.msgpack.decode(wire.receive(ours) or b"", type=Done | Failed | State) for _ in range(6)]
        ours.shutdown(socket.SHUT_WR)
        serving.join(10)
    assert [type(message) for message in said] == [State, Done, State, State, State, Done]


def test_a_signature_travels_with_its_failure() -> None:
    assert warden.describe_signed(Signed(b"raw", None, 5)) == Result(b"raw", 5)
    error = KeyNotFound("gone", hint="look", rv="")
    assert warden.describe_signed(Signed(b"", error, 6)) == Result(b"", 6, Failed("KeyNotFound", "gone", "look", ""))


def test_an_answer_that_nobody_waits_for_ends_the_service() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        wire.send(ours, Ask(1, "is_software", msgspec.Raw(b"\x90")))
        ours.close()
        warden.Warden(Vault([]), theirs).serve()


def test_a_place_is_opened_as_the_keyroom_says() -> None:
    place = Place("keys", Path("/module.so"), "label", Path("/pin"), ("oem-root",), "4711")
    read = warden.read_place(place)
    assert (read.token, read.module) == ("keys", Path("/module.so"))
    assert (read.settings.name, read.settings.roles) == ("label@4711", ("oem-root",))
    assert repr(read.settings.pin) == repr(PinSource.from_file(Path("/pin")))
