"""The warden: the process that holds the tokens. It opens the vault and answers the keyroom on one socket.

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
from typing import Any, Final, Protocol

import msgspec

from hsm.errors import HsmError
from hsm.keys import KeyName
from hsm.pins import PinSource
from hsm.places import PlaceSettings
from hsm.signed import Signed
from hsm.tokens import TokenSettings
from hsm.vault import Vault
from hsm.wire import (
    HUNG,
    OPENING_DEADLINES,
    Ask,
    Done,
    Failed,
    Items,
    Opening,
    Place,
    Result,
    State,
    describe_error,
    read_name,
    receive,
    send,
    send_and_receive,
)

_PR_SET_DUMPABLE: Final = 4
PART: Final = 4
"""Signatures of a series, by each session, between which calls are answered."""
BREATH_S: Final = 1.0
"""How long a warden that signs a series may say nothing: the keyroom takes a long silence for its end."""

_asked = msgspec.msgpack.Decoder(Ask)
_items = msgspec.msgpack.Decoder(tuple[Items])


class Watched(Protocol):
    """What the watchdog reads of a vault, from its own thread."""

    @property
    def in_call_since(self) -> float | None:
        """The monotonic second when the oldest call under way began."""

    @property
    def opening_since(self) -> float | None:
        """The monotonic second when a module began to be opened."""

    @property
    def calls(self) -> tuple[str, ...]:
        """What is under way, in words."""


def read_place(place: Place) -> PlaceSettings:
    """A place as the vault takes it; its PIN is read when it is needed."""
    settings = TokenSettings(place.label, PinSource.from_file(place.pin_file), place.roles, place.serial)
    return PlaceSettings(place.token, place.module, settings)


def open_vault(opening: Opening) -> Vault:
    """Load the libraries and log in, each call under its deadline. Raises what Vault.open raises."""
    vault = Vault([read_place(place) for place in opening.places], sessions=opening.sessions)
    watch_calls(vault, opening.deadline_s)
    vault.log_in()
    if opening.hardware_only:
        vault.refuse_software()
    return vault


def methods(vault: Vault) -> Mapping[str, tuple[Callable[..., Any], Any]]:
    """What may be asked, and the types of its arguments; `sign_all` apart."""
    return {
        "sign": (vault.sign, tuple[KeyName, bytes]),
        "generate": (vault.generate, tuple[str, bytes, str, str]),
        "destroy": (vault.destroy, tuple[str, bytes]),
        "exists": (vault.exists, tuple[str, bytes]),
        "read_memos": (vault.read_memos, tuple[str, str]),
        "write_memo": (vault.write_memo, tuple[str, str, bytes]),
        "inventory": (vault.inventory, tuple[()]),
        "random": (vault.random, tuple[int]),
        "token_serial": (vault.token_serial, tuple[str]),
        "is_software": (lambda: vault.is_software, tuple[()]),
        "tend": (vault.tend, tuple[list[KeyName]]),
    }


def describe_signed(signed: Signed) -> Result:
    """A signature, or its failure, as it travels."""
    failed = describe_error(signed.error) if isinstance(signed.error, HsmError) else None
    return Result(signed.raw, signed.us, failed)


class Warden:
    """Answers the keyroom on one socket. sessions: how many items of a series are signed at a time."""

    def __init__(self, vault: Vault, connection: socket.socket, sessions: int = 1) -> None:
        self._vault = vault
        self._connection = connection
        self._part = PART * sessions
        self._methods = {name: (call, msgspec.msgpack.Decoder(kind)) for name, (call, kind) in methods(vault).items()}
        self._inbox: deque[bytes | None] = deque()
        self._series: deque[tuple[int, Items]] = deque()
        self._told: object = None
        self._said_at = time.monotonic()
        self._open = True

    def serve(self) -> None:
        """Say that the tokens are open; then, until the keyroom closes its end: calls as they come, series in their
        order, calls first.
        """
        with contextlib.suppress(ConnectionError):  # nobody is left to be answered
            self._reply(Done(encode(None)))
            while self._open:
                if self._series and not self._inbox:
                    self._sign_all(*self._series.popleft())
                else:
                    self._take()

    def _sign_all(self, number: int, items: Items) -> None:
        results: list[Result] = []
        for start in range(0, len(items), self._part):
            while self._open and (self._inbox or select.select([self._connection], [], [], 0)[0]):
                self._take()
            if not self._open:
                return
            if time.monotonic() > self._said_at + BREATH_S:
                self._tell()
            results += map(describe_signed, self._vault.start(items[start : start + self._part]).wait())
        self._reply(Done(encode(results), number))

    def _take(self) -> None:
        """Take the next message: a call is answered, a series waits for its turn."""
        body = self._inbox.popleft() if self._inbox else receive(self._connection)
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
            self._reply(Done(encode(method(*arguments.decode(ask.arguments))), ask.number), news=ask.method == "tend")
        except HsmError as error:
            self._reply(describe_error(error, ask.number))

    def _reply(self, reply: Done | Failed, *, news: bool = False) -> None:
        """Send a reply, and ahead of it how the tokens are, if that is news. What comes meanwhile is kept."""
        if news or self._told != (self._vault.reports, self._vault.stopped):
            self._tell()
        self._send(reply)

    def _tell(self) -> None:
        seen = self._told = self._vault.reports, self._vault.stopped
        resting = {token: describe_error(error) for token, error in self._vault.resting.items()}
        self._send(State(*seen, resting))

    def _send(self, message: Done | Failed | State) -> None:
        self._inbox += send_and_receive(self._connection, message)
        self._said_at = time.monotonic()


def encode(value: object) -> msgspec.Raw:
    """What a method returned, as it travels in a reply."""
    return msgspec.Raw(msgspec.msgpack.encode(value))


def is_overdue(vault: Watched, deadline_s: float, now: float) -> bool:
    """Whether a PKCS#11 call takes longer than it may, or the opening of a module, which is many calls."""
    since, opening = vault.in_call_since, vault.opening_since
    return (since is not None and now - since > deadline_s) or (
        opening is not None and now - opening > OPENING_DEADLINES * deadline_s
    )


def watch_calls(vault: Watched, deadline_s: float) -> None:
    """End the process when a PKCS#11 call is over its deadline: it cannot be interrupted (crash-only)."""

    def watch() -> None:
        while True:
            time.sleep(min(1.0, deadline_s / 4))
            if is_overdue(vault, deadline_s, time.monotonic()):
                os.write(sys.stderr.fileno(), f"a PKCS#11 call hangs: {', '.join(vault.calls)}\n".encode())
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
        vault = open_vault(opening)
    except HsmError as error:
        send(connection, describe_error(error))
        return
    with contextlib.closing(vault):
        Warden(vault, connection, opening.sessions).serve()


if __name__ == "__main__":
    main(socket.socket(fileno=sys.stdin.fileno()))
