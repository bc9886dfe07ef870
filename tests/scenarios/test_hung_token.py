"""A token that hangs, with real processes: `kedge up`, the keyroom under it, and SoftHSM behind a shim.

The keyroom ends itself, its supervisor starts it again, recovery closes the intent as unknown, a retry is answered.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ceremonies.client import KeyroomDown, ask_once
from ceremonies.commands import DeviceIssued, EventsListed, IssueDevice, ListEvents, ShowHealth
from ceremonies.results import EventShown
from hsm.wire import HUNG
from tests.hsm.shim import Shim
from tests.scenarios.test_crashes import check_journal, of_request
from tests.softhsm import make_token_dir
from tests.world import World, copy_world, make_request, place_tokens

ROOT = Path(__file__).parents[2]


def write_settings(world: World, module: Path, **more: object) -> Path:
    """The settings file of this world, with another module."""
    lines = [
        'origin = "kedge.example/journal"', 'node = "keyroom-1"', 'data = "data"', 'public = "public"',
        'socket = "keyroom.sock"', f'module = "{module}"', f'roster_sha256 = "{world.roster.digest}"',
        r'witnesses = "quorum none\n"',
        *(f"{name} = {value}" for name, value in more.items()),
    ]  # fmt: skip
    for place in place_tokens(world.path / "hsm"):
        lines += ["[[tokens]]", f'label = "{place.label}"', f'pin_file = "{place.pin_file}"']
        lines += [f"roles = {list(place.roles)}"]
    file = world.path / "keyroom.toml"
    file.write_text("\n".join(lines) + "\n")
    return file


@contextmanager
def run_up(world: World, file: Path) -> Iterator[subprocess.Popen[str]]:
    """`kedge up` on these settings; it is told to end, and does."""
    environment = {**os.environ, **make_token_dir(world.path / "hsm")}
    command = [sys.executable, "-m", "api.cli.main", "up", "--settings", str(file), "--port", "0"]
    log = (world.path / "up.log").open("w")
    with subprocess.Popen(command, cwd=ROOT, env=environment, text=True, stdout=log, stderr=log) as running:
        try:
            yield running
        finally:
            running.send_signal(signal.SIGTERM)
            running.wait(timeout=60)
            log.close()


def wait_ready(world: World, seconds: float = 60) -> None:
    """Until the keyroom answers."""
    end = time.monotonic() + seconds
    while True:
        try:
            ask_once(world.path / "keyroom.sock", ShowHealth(), timeout=5)
        except KeyroomDown:
            assert time.monotonic() < end, (world.path / "up.log").read_text()
            time.sleep(0.1)
        else:
            return


def issue(world: World, number: int, csr: bytes) -> DeviceIssued:
    """A certificate from the running keyroom."""
    command = IssueDevice("wo-1", f"BMS-{number:06}", csr)
    answer = ask_once(world.path / "keyroom.sock", command, token=world.role_token("station"), timeout=30)
    assert isinstance(answer, DeviceIssued)
    return answer


def list_unknown(world: World) -> list[EventShown]:
    """The events of the second certificate's intents that recovery closed as unknown."""
    listed = ask_once(world.path / "keyroom.sock", ListEvents(0, 500), token=world.role_token("auditor"), timeout=30)
    assert isinstance(listed, EventsListed)
    assert listed.following == listed.size, "the journal is longer than one answer"
    return [item for item in listed.events if item.type == "key.sign.unknown" and "BMS-000002" in str(item)]


@pytest.mark.req("HS-9", "AU-1", "T27")
def test_a_hung_signature_ends_the_keyroom_and_the_next_one_recovers(hsm_template: World, tmp_path: Path) -> None:
    world = copy_world(hsm_template, tmp_path / "world")
    shim = Shim(tmp_path)
    csr = make_request()
    with run_up(world, write_settings(world, shim.path, deadline_s=1.0)) as up:
        wait_ready(world)
        first = issue(world, 1, make_request())
        while not list_unknown(world):  # what hung may have been the signature of a list, or of a checkpoint
            shim.hang("C_Sign")
            with pytest.raises(KeyroomDown):
                issue(world, 2, csr)
            shim.heal()
            assert up.poll() is None, "the supervisor has ended"
            wait_ready(world)
        second = issue(world, 2, csr)
        assert not second.replayed
        again = issue(world, 2, csr)
        assert (again.replayed, again.certificate) == (True, second.certificate)
        assert first.certificate != second.certificate
    log = (world.path / "up.log").read_text()
    assert "a PKCS#11 call hangs" in log
    assert "C_Sign" in log
    assert f"status={HUNG}" in log or f"status\x1b[0m=\x1b[35m{HUNG}" in log, log
    check_ended(world)


def check_ended(world: World) -> None:
    """One intent of the second certificate is unknown, one has its outcome; the journal verifies."""
    world.start()
    try:
        leaves = asyncio.run(check_journal(world))
        found = of_request(leaves, next(leaf["req"] for leaf in leaves if "BMS-000002" in leaf.get("req", "")))
        kinds = [leaf["type"] for leaf in found if leaf["type"] != "key.sign.denied"]
        assert kinds == ["key.sign.intent", "key.sign.unknown", "key.sign.intent", "key.sign.outcome"]
    finally:
        world.stop()
