"""The warden: the process that holds the tokens. It opens the strongbox and answers the keyroom on one socket.

PKCS#11 libraries hold keys and logins per process, so this one does nothing else: no network, no database, no parser of
what strangers send. It ends when the keyroom does, and when a PKCS#11 call hangs past its deadline, which nothing else
can end; the keyroom then ends as well, its supervisor starts both, and recovery closes what was open.
"""

import contextlib
import ctypes
import os
import select
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from hsm.errors import HsmError
from hsm.keys import KeyName, Signed
from hsm.pins import PinSource
from hsm.strongbox import Strongbox
from hsm.tokens import TokenSettings
from hsm.wire import HUNG, Ask, Done, Items, Opening, Result, describe_error, read_name, receive, send

_PR_SET_DUMPABLE: Final = 4
PART: Final = 1
"""Signatures of a series between which calls are answered."""

_asked = msgspec.msgpack.Decoder(Ask)
_items = msgspec.msgpack.Decoder(tuple[Items])


def open_strongbox(opening: Opening) -> Strongbox:
    """Load the library and log in. Raises what Strongbox.open raises."""
    tokens = [TokenSettings(place.label, PinSource.from_file(place.pin_file), place.roles) for place in opening.places]
    return Strongbox.open(opening.module, tokens)


def methods(box: Strongbox) -> Mapping[str, tuple[Callable[..., Any], Any]]:
    """What may be asked, and the types of its arguments; `sign_all` apart."""
    return {
        "sign": (box.sign, tuple[KeyName, bytes]),
        "generate": (box.generate, tuple[str, bytes, str, str]),
        "destroy": (box.destroy, tuple[str, bytes]),
        "exists": (box.exists, tuple[str, bytes]),
        "inventory": (box.inventory, tuple[()]),
        "random": (box.random, tuple[int]),
        "token_serial": (box.token_serial, tuple[str]),
        "is_software": (lambda: box.is_software, tuple[()]),
    }


def describe_signed(signed: Signed) -> Result:
    """A signature, or its failure, as it travels."""
    failed = describe_error(signed.error) if isinstance(signed.error, HsmError) else None
    return Result(signed.raw, signed.us, failed)


class Warden:
    """Answers the keyroom on one socket."""

    def __init__(self, box: Strongbox, connection: socket.socket) -> None:
        self._box = box
        self._connection = connection
        self._methods = {name: (method, msgspec.msgpack.Decoder(kind)) for name, (method, kind) in methods(box).items()}
        self._series: deque[tuple[int, Items]] = deque()
        self._open = True

    def serve(self) -> None:
        """Until the keyroom closes its end: calls as they come, series in their order, calls first."""
        with contextlib.suppress(ConnectionError):  # nobody is left to be answered
            while self._open:
                if self._series:
                    self._sign_all(*self._series.popleft())
                else:
                    self._take()

    def _sign_all(self, number: int, items: Items) -> None:
        results: list[Result] = []
        for start in range(0, len(items), PART):
            while self._open and select.select([self._connection], [], [], 0)[0]:
                self._take()
            if not self._open:
                return
            results += map(describe_signed, self._box.start(items[start : start + PART]).wait())
        self._reply(number, results)

    def _take(self) -> None:
        """Take the next message: a call is answered, a series waits for its turn."""
        body = receive(self._connection)
        if body is None:
            self._open = False
            return
        ask = _asked.decode(body)
        if ask.method == "sign_all":
            (items,) = _items.decode(ask.arguments)
            self._series.append((ask.number, items))
            return
        method, arguments = self._methods[ask.method]
        try:
            self._reply(ask.number, method(*arguments.decode(ask.arguments)))
        except HsmError as error:
            send(self._connection, describe_error(error, ask.number))

    def _reply(self, number: int, value: object) -> None:
        send(self._connection, Done(msgspec.Raw(msgspec.msgpack.encode(value)), number))


def watch_calls(box: Strongbox, deadline_s: float) -> None:
    """End the process when a PKCS#11 call is over its deadline: it cannot be interrupted (crash-only)."""

    def watch() -> None:
        while True:
            time.sleep(min(1.0, deadline_s / 4))
            since = box.in_call_since
            if since is not None and time.monotonic() - since > deadline_s:
                os.write(sys.stderr.fileno(), f"a PKCS#11 call hangs: {', '.join(box.calls)}\n".encode())
                os._exit(HUNG)

    threading.Thread(target=watch, name="watchdog", daemon=True).start()


def watch_keyroom(connection: socket.socket) -> None:
    """End the process when the keyroom has, whatever call is under way. PR_SET_PDEATHSIG would do it when the thread
    ends that started this process.
    """
    hangup = select.poll()
    hangup.register(connection, 0)  # POLLHUP comes unasked: both directions are closed

    def watch() -> None:
        hangup.poll()
        os._exit(0)

    threading.Thread(target=watch, name="keyroom", daemon=True).start()


def seclude() -> None:
    """Leave no core file and let nobody attach; stop only when the keyroom says so."""
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def main(connection: socket.socket) -> None:
    """Open what the first message names, and serve it."""
    seclude()
    watch_keyroom(connection)
    first = receive(connection)
    if first is None:
        return
    opening = msgspec.msgpack.decode(first, type=Opening, dec_hook=read_name)
    try:
        box = open_strongbox(opening)
    except HsmError as error:
        send(connection, describe_error(error))
        return
    watch_calls(box, opening.deadline_s)
    with box:
        send(connection, Done(msgspec.Raw(msgspec.msgpack.encode(None))))
        Warden(box, connection).serve()


if __name__ == "__main__":
    main(socket.socket(fileno=sys.stdin.fileno()))
