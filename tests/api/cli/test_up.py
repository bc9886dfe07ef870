import asyncio
import os
import signal
import socket
import sys
import time
from pathlib import Path

import pytest

from api.cli.errors import ChildrenFailed, FileRefused, PortTaken
from api.cli.up import check_port, end, run_all, watch

COUNT = "import pathlib,sys; p=pathlib.Path(sys.argv[1]); p.write_text(p.read_text()+'x' if p.exists() else 'x')"


def test_child_that_ends_is_started_again(tmp_path: Path) -> None:
    starts = tmp_path / "starts"

    def wait_for_starts() -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and len(starts.read_text() if starts.exists() else "") < 3:
            time.sleep(0.02)

    async def run() -> None:
        stop = asyncio.Event()
        command = [sys.executable, "-c", COUNT, str(starts)]
        task = asyncio.create_task(watch(command, stop, pause=0.01))
        await asyncio.to_thread(wait_for_starts)
        stop.set()
        await task

    asyncio.run(run())
    assert len(starts.read_text()) >= 3


def test_child_that_keeps_ending_is_given_up() -> None:
    async def run() -> None:
        await watch([sys.executable, "-c", ""], asyncio.Event(), pause=0.001)

    with pytest.raises(ChildrenFailed, match="keeps ending"):
        asyncio.run(run())


def test_interrupt_ends_all_children(tmp_path: Path) -> None:
    wait = "import pathlib,sys,time; pathlib.Path(sys.argv[1]).touch(); time.sleep(600)"
    commands = [[sys.executable, "-c", wait, str(tmp_path / name)] for name in ("a", "b")]

    async def run() -> None:
        def interrupt() -> None:
            while not all((tmp_path / name).exists() for name in ("a", "b")):
                time.sleep(0.02)
            os.kill(os.getpid(), signal.SIGTERM)

        await asyncio.gather(run_all(commands), asyncio.to_thread(interrupt))

    begun = time.monotonic()
    asyncio.run(run())
    assert time.monotonic() - begun < 60


def test_child_that_ends_already_is_no_error() -> None:
    async def run() -> None:
        child = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
        await child.wait()
        await end(child)

    asyncio.run(run())


def test_a_taken_port_is_told_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortTaken, match=f"port {port} is taken"):
            check_port("127.0.0.1", port)
    check_port("127.0.0.1", port)


def test_an_address_of_nobody_here_is_told() -> None:
    with pytest.raises(FileRefused, match=r"cannot listen on 192\.0\.2\.1"):
        check_port("192.0.2.1", 8300)
