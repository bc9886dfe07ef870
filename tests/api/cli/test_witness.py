"""`kedge witness`: made, run as a program, killed, looked at."""

import contextlib
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from api.witness.settings import load_key, load_witness, witness_vkey
from pki.log.notes import parse_vkey
from pki.log.witnesses import read_cosignature
from tests.api.cli.running import ROOT, answer, kedge, refusal
from tests.pki.log.building import LOG, ORIGIN
from tests.witnessing import SmallLog

NAME = "witness.example/w1"
HONEST, FORK = SmallLog(200), SmallLog(200, b"fork")


def make(path: Path) -> str:
    made = answer("witness", "init", path, "--name", NAME, "--log", LOG.public.encode())
    return str(made["vkey"])


def test_init_makes_a_witness_once(tmp_path: Path) -> None:
    place = tmp_path / "w"
    vkey = make(place)
    settings = load_witness(place / "witness.toml")
    assert settings.known() == {ORIGIN: (LOG.public,)}
    assert witness_vkey(NAME, load_key(settings.key)) == parse_vkey(vkey)
    assert stat.S_IMODE((place / "witness.key").stat().st_mode) == 0o400
    assert refusal("witness", "init", place, "--name", NAME) == "file-refused"
    assert refusal("witness", "init", tmp_path / "v", "--name", "a name") == "witness-misconfigured"
    assert refusal("witness", "init", tmp_path / "u", "--name", NAME, "--log", "junk") == "witness-misconfigured"
    assert vkey in kedge("witness", "show", place).stdout


@contextlib.contextmanager
def running(place: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """`kedge witness run` as a program, on a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    text = (place / "witness.toml").read_text().splitlines()
    lines = [f"port = {port}" if line.startswith("port") else line for line in text]
    (place / "witness.toml").write_text("\n".join([*lines, ""]))
    command = [sys.executable, "-m", "api.cli.main", "witness", "run", str(place)]
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and child.poll() is None:
            try:
                httpx.get(f"{url}/healthz")
                break
            except httpx.HTTPError:
                time.sleep(0.05)
        try:
            yield child, url
        finally:
            with contextlib.suppress(ProcessLookupError):
                child.terminate()


@pytest.mark.unmeasured
@pytest.mark.req("T26", "AU-11")
def test_kill_9_under_load_never_leads_back(tmp_path: Path) -> None:
    vkey = parse_vkey(make(tmp_path / "w"))
    given = [0]
    with running(tmp_path / "w") as (child, url):

        def feed() -> None:
            with httpx.Client() as http, contextlib.suppress(httpx.HTTPError):
                for size in range(1, 200):
                    reply = http.post(f"{url}/add-checkpoint", content=HONEST.submit(given[0], size))
                    read_cosignature(HONEST.note(size), reply.content, vkey)
                    given[0] = size

        feeder = threading.Thread(target=feed)
        feeder.start()
        while given[0] < 5 and feeder.is_alive():
            time.sleep(0.001)
        os.kill(child.pid, signal.SIGKILL)
        feeder.join()
        assert child.wait(10) == -signal.SIGKILL
    released = given[0]
    assert released >= 5
    with running(tmp_path / "w") as (child, url):
        told = httpx.post(f"{url}/add-checkpoint", content=HONEST.submit(0, 1))
        assert told.status_code == 409
        size = int(told.text)
        assert released <= size <= released + 1  # what was on its way out may be remembered
        assert httpx.post(f"{url}/add-checkpoint", content=FORK.submit(size, 200)).status_code == 422
        assert httpx.post(f"{url}/add-checkpoint", content=HONEST.submit(size, 200)).status_code == 200
        (shown,) = answer("witness", "show", tmp_path / "w")["logs"]
        assert (shown["origin"], shown["size"], len(shown["evidence"])) == (ORIGIN, 200, 1)
        child.terminate()
        assert child.wait(20) in (0, -signal.SIGTERM)


def test_a_witness_without_its_records_or_key_does_not_run(tmp_path: Path) -> None:
    make(tmp_path / "w")
    (tmp_path / "w" / "state").rmdir()
    assert refusal("witness", "run", tmp_path / "w") == "witness-misconfigured"
    (tmp_path / "w" / "state").mkdir()
    (tmp_path / "w" / "witness.key").chmod(0o444)
    assert refusal("witness", "run", tmp_path / "w") == "witness-misconfigured"
