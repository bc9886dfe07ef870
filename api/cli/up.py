"""`kedge up`: keyroom and API together, for development. Each is started again when it ends."""

import asyncio
import contextlib
import errno
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import structlog
import typer

from api.cli.errors import ChildrenFailed, FileRefused, PortTaken
from api.cli.keyroom import MakeTokens, Settings, check_pins

KEDGE: Final = (sys.executable, "-m", "api.cli.main")
FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 30.0
STEADY_AFTER: Final = 60.0
GIVE_UP_AFTER: Final = 8
PATIENCE: Final = 15.0

log = structlog.get_logger("kedge.up")


def start_both(
    settings: Settings,
    host: Annotated[str, typer.Option(help="Address of the API.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port of the API.", min=0, max=65535)] = 8300,
    make_tokens: MakeTokens = False,
) -> None:
    """Start the keyroom and the API under this user, and keep them running until interrupted."""
    from ceremonies.settings import load_settings

    places = load_settings(settings)
    serve = ["--socket", str(places.socket), "--public", str(places.public), "--host", host, "--port", str(port)]
    check_pins(places)
    check_port(host, port)
    keyroom = ["keyroom", "--settings", str(settings), *(["--make-tokens"] if make_tokens else [])]
    asyncio.run(run_all([[*KEDGE, *keyroom], [*KEDGE, "serve", *serve]]))


def check_port(host: str, port: int) -> None:
    """The API can listen there, as far as can be seen now. Raises PortTaken, FileRefused."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(f"port {port} is taken", hint="use --port") from error
        raise FileRefused(
            f"cannot listen on {host}, port {port}: {error.strerror}", hint="use --host, --port"
        ) from error


async def run_all(commands: Sequence[Sequence[str]]) -> None:
    """Keep all commands running until SIGINT or SIGTERM, then end them. Raises ChildrenFailed when one won't stay."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    watches = [asyncio.create_task(watch(command, stop)) for command in commands]
    done, _ = await asyncio.wait(watches, return_when=asyncio.FIRST_COMPLETED)
    stop.set()
    await asyncio.gather(*watches, return_exceptions=True)
    for task in done:
        task.result()


async def watch(command: Sequence[str], stop: asyncio.Event, pause: float = FIRST_PAUSE) -> None:
    """Start a command again whenever it ends, after a pause that doubles while it ends early."""
    first, failures = pause, 0
    while not stop.is_set():
        begun = time.monotonic()
        # A session of its own: Ctrl-C reaches this process only, which then ends its children in order.
        child = await asyncio.create_subprocess_exec(*command, start_new_session=True)
        ended, stopped = asyncio.create_task(child.wait()), asyncio.create_task(stop.wait())
        await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if stop.is_set():
            await end(child)
            return
        steady = time.monotonic() - begun > STEADY_AFTER
        pause, failures = (first, 1) if steady else (min(pause * 2, LONGEST_PAUSE), failures + 1)
        if failures >= GIVE_UP_AFTER:
            raise ChildrenFailed(f"{Path(command[0]).name} {' '.join(command[1:])} keeps ending", hint="read its log")
        log.warning("ended", command=list(command[1:]), status=child.returncode, restart_in=pause)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), pause)


async def end(child: asyncio.subprocess.Process) -> None:
    """Ask a child to end; kill it when it does not."""
    if child.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        child.terminate()
    try:
        await asyncio.wait_for(child.wait(), PATIENCE)
    except TimeoutError:
        child.kill()
        await child.wait()
