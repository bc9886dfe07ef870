"""Wrong PINs over starts: counted, locked after five, cleared by an operator, and told to the journal."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ceremonies import commands
from ceremonies.lockout import LIMIT, MAX_REASON, KeyroomLocked, Lockout, NothingLocked, WrongStarts
from ceremonies.process import make_tokens
from ceremonies.settings import load_settings
from ceremonies.tables import EntryRow
from hsm.errors import PinIncorrect, PinLocked, TokenNotFound
from hsm.strongbox import Strongbox
from tests.api.cli.running import kedge
from tests.ceremonies.test_process import ask_when_up, keyroom, write_settings
from tests.softhsm import make_token_dir
from tests.world import World, soft_world


def refuse() -> Strongbox:
    raise PinIncorrect("token kedge-main, C_Login: CKR_PIN_INCORRECT", rv="CKR_PIN_INCORRECT")


@pytest.mark.req("HS-5", "T31")
def test_five_starts_with_a_wrong_pin_lock_and_an_operator_clears(tmp_path: Path) -> None:
    world = soft_world(tmp_path)
    good, tried = world.strongbox, 0

    def wrong() -> Strongbox:
        nonlocal tried
        tried += 1
        return refuse()

    world.strongbox = wrong
    for _ in range(LIMIT):
        with pytest.raises(PinIncorrect):
            world.start()
    world.strongbox = good
    for _ in range(2):
        with pytest.raises(KeyroomLocked, match="5 starts in a row"):
            world.start()
    assert tried == LIMIT
    assert Lockout(tmp_path / "data").clear(1000, "PIN file restored from backup") == LIMIT
    world.start()
    world.stop()
    (leaf,) = [leaf for leaf in leaves(world) if leaf["type"] == "auth.fail"]
    assert leaf["op"]["what"] == {
        "cleared": [{"reason": "PIN file restored from backup", "starts": 5, "uid": 1000}],
        "wrong_pin_starts": 0,
    }
    world.start().stop()
    assert len([leaf for leaf in leaves(world) if leaf["type"] == "auth.fail"]) == 1


def leaves(world: World) -> list[dict[str, Any]]:
    """Every entry of a stopped world."""
    world.start()
    found = [json.loads(row["leaf"]) for row in world.room.store.list(EntryRow, "seq")]
    world.stop()
    return found


@pytest.mark.req("HS-5")
def test_a_good_start_ends_the_row(tmp_path: Path) -> None:
    world = soft_world(tmp_path)
    good = world.strongbox
    for _ in range(2):
        world.strongbox = refuse
        for _ in range(LIMIT - 1):
            with pytest.raises(PinIncorrect):
                world.start()
        world.strongbox = good
        world.start().stop()
    found = [leaf["op"]["what"] for leaf in leaves(world) if leaf["type"] == "auth.fail"]
    assert found == [{"wrong_pin_starts": LIMIT - 1}] * 2


@pytest.mark.parametrize("error", [TokenNotFound("a"), PinLocked("a", rv="CKR_PIN_LOCKED"), OSError("a")])
def test_what_is_no_wrong_pin_is_not_counted(tmp_path: Path, error: Exception) -> None:
    def fail() -> Strongbox:
        raise error

    lockout = Lockout(tmp_path)
    with pytest.raises(type(error)):
        lockout.open(fail)
    assert lockout.read() == WrongStarts()
    assert lockout.open(lambda: "opened") == "opened"


@pytest.mark.parametrize("content", [b"", b"{", b'{"count":-1}', b'{"count":"0"}', b'{"other":1}', b'{"\xc4":1}'])
def test_a_file_that_makes_no_sense_locks(tmp_path: Path, content: bytes) -> None:
    lockout = Lockout(tmp_path)
    lockout.path.write_bytes(content)
    with pytest.raises(KeyroomLocked):
        lockout.admit()
    assert lockout.clear(0, "file was damaged") == LIMIT
    lockout.admit()


@pytest.mark.parametrize("reason", ["", "  ", "x" * (MAX_REASON + 1), "a\nb", "ä"])
def test_clearing_needs_a_reason(tmp_path: Path, reason: str) -> None:
    lockout = Lockout(tmp_path)
    with pytest.raises(NothingLocked):
        lockout.clear(0, "nothing there")
    lockout.count_wrong()
    with pytest.raises(NothingLocked):
        lockout.clear(0, reason)
    assert lockout.read().count == 1


@pytest.mark.unmeasured
@pytest.mark.req("HS-5", "T31")
def test_the_processes_lock_and_unlock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With real tokens: `kedge keyroom` with a wrong PIN file, `kedge unlock`, and a good start."""
    for name, value in make_token_dir(tmp_path).items():
        monkeypatch.setenv(name, value)
    file = write_settings(tmp_path)
    make_tokens(load_settings(file))
    pin = tmp_path / "kedge-main.pin"
    right = pin.read_text()
    pin.write_text("wrong-pin")
    (tmp_path / "data").mkdir()
    Lockout(tmp_path / "data").path.write_text(json.dumps({"count": LIMIT - 1}))
    for said in ("CKR_PIN_INCORRECT", "5 starts in a row"):
        with keyroom(tmp_path, file) as running:
            _, errors = running.communicate(timeout=120)
            assert running.returncode not in (0, None)
            assert said in errors
    pin.write_text(right)
    assert kedge("unlock", "--settings", file, "--reason", "PIN file corrected").exit_code == 0
    with keyroom(tmp_path, file) as again:
        wait_up(tmp_path, again)


def wait_up(path: Path, running: subprocess.Popen[str]) -> None:
    """Until the process listens."""
    ask_when_up(path / "keyroom.sock", commands.ShowHealth(), running)
