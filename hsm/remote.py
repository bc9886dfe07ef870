"""A vault in a process of its own (`hsm.warden`), asked over a socket, from any thread.

`start` sends a series of signatures and does not wait: the database is written while the token works. The warden
answers other calls between the signatures of a series. How the tokens are, it tells unasked, ahead of the reply to what
changed it: so a token that rests is refused here, without a question. What is known may be a reply old.

The warden ends itself when a PKCS#11 call hangs. One that stands still elsewhere, all its threads, cannot: while an
answer is awaited and nothing at all comes for as long as `measure_silence` says, it is killed from here.
"""

import contextlib
import itertools
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import msgspec

from hsm.circuit import PlaceReport
from hsm.errors import HsmError, SignatureMismatch, StrongboxEnded
from hsm.inventory import TokenInventory
from hsm.keys import GeneratedKey, KeyName
from hsm.signed import Signed
from hsm.wire import OPENING_DEADLINES, Ask, Done, Failed, Opening, Result, State, read_error, receive, send

T = TypeVar("T")

PATIENCE: Final = 10.0
"""Seconds for the process to end once its socket is closed."""

CALLS: Final = 9
"""PKCS#11 calls that may take their whole deadline between two messages of a warden: a part of a series, each twice."""
STARTING_S: Final = 30.0
"""Seconds for its interpreter to start, on a machine that is busy."""

_replies = msgspec.msgpack.Decoder(Done | Failed | State)


def measure_silence(opening: Opening) -> float:
    """Seconds that a warden which works may say nothing: some calls, and the opening of a module at every place."""
    return opening.deadline_s * (CALLS + OPENING_DEADLINES * len(opening.places))


class RemoteStrongbox:
    """What `hsm.vault.Vault` does, done by another process.

    ended: called, on a thread of its own, when the process ends without having been told to, with its exit status.
    Whoever waits for an answer hears of the end only afterwards: a keyroom that ends there has recorded nothing of it.
    Raises what Vault.open raises.
    """

    def __init__(self, opening: Opening, ended: Callable[[int], object] = lambda _: None) -> None:
        self._opened = self._closing = False
        self._ended = ended
        self._vital = opening.vital
        self._state = State()
        self._numbers = itertools.count(1)
        self._sending, self._arrived = threading.Lock(), threading.Condition()
        self._receiving = False
        self._replies: dict[int, Done | Failed] = {}
        self._watcher = threading.Thread(target=self._watch, name="warden", daemon=True)
        self._connection, theirs = socket.socketpair()
        self._connection.settimeout(STARTING_S + measure_silence(opening))
        with theirs:
            command = [sys.executable, "-I", "-m", "hsm.warden"]
            self.process = subprocess.Popen(command, stdin=theirs.fileno(), start_new_session=True)
        self._watcher.start()
        try:
            self._post(opening)
            self._read(0, type(None))
            self._connection.settimeout(measure_silence(opening))
            self._opened = True
        except BaseException:
            self.close()
            raise

    def generate(self, token: str, key_id: bytes, label: str, algorithm: str) -> GeneratedKey:
        """See Vault.generate."""
        return self._ask(GeneratedKey, "generate", token, key_id, label, algorithm)

    def sign(self, key: KeyName, data: bytes) -> bytes:
        """See Vault.sign."""
        return self._ask(bytes, "sign", key, data)

    def start(self, items: Sequence[tuple[KeyName, bytes]]) -> "RemoteSeries":
        """See Vault.start; here the signatures are made while the caller goes on."""
        return RemoteSeries(self, self._send("sign_all", list(items)) if items else None, len(items))

    def destroy(self, token: str, key_id: bytes) -> bool:
        """See Vault.destroy."""
        return self._ask(bool, "destroy", token, key_id)

    def exists(self, token: str, key_id: bytes) -> bool:
        """See Vault.exists."""
        return self._ask(bool, "exists", token, key_id)

    def read_memos(self, token: str, label: str) -> tuple[bytes, ...]:
        """See Vault.read_memos."""
        return self._ask(tuple[bytes, ...], "read_memos", token, label)

    def write_memo(self, token: str, label: str, data: bytes) -> int:
        """See Vault.write_memo."""
        return self._ask(int, "write_memo", token, label, data)

    def inventory(self) -> tuple[TokenInventory, ...]:
        """See Vault.inventory."""
        return self._ask(tuple[TokenInventory, ...], "inventory")

    def random(self, count: int) -> bytes:
        """See Vault.random."""
        return self._ask(bytes, "random", count)

    def token_serial(self, label: str) -> str:
        """See Vault.token_serial."""
        return self._ask(str, "token_serial", label)

    @property
    def is_software(self) -> bool:
        """See Vault.is_software."""
        return self._ask(bool, "is_software")

    @property
    def reports(self) -> tuple[PlaceReport, ...]:
        """See Vault.reports; as the last reply left them."""
        return self._state.reports

    @property
    def stopped(self) -> tuple[tuple[bytes, str], ...]:
        """See Vault.stopped; as the last reply left it."""
        return self._state.stopped

    def check_ready(self, token: str) -> None:
        """See Vault.check_ready; by what the last reply told."""
        resting = self._state.resting
        if resting:
            for name in (token, *self._vital):
                if name in resting:
                    raise read_error(resting[name])

    def tend(self, probes: Sequence[KeyName]) -> None:
        """See Vault.tend."""
        self._ask(type(None), "tend", list(probes))

    def close(self) -> None:
        """Have the process log out and end; a second call does nothing."""
        self._closing = True
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_WR)
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._connection.close()

    def read_series(self, number: int) -> list[Result]:
        """The results of a series, when the last one is there."""
        return self._read(number, list[Result])

    def _ask(self, kind: type[T], method: str, *arguments: object) -> T:
        return self._read(self._send(method, *arguments), kind)

    def _send(self, method: str, *arguments: object) -> int:
        number = next(self._numbers)
        self._post(Ask(number, method, msgspec.Raw(msgspec.msgpack.encode(arguments))))
        return number

    def _post(self, message: Opening | Ask) -> None:
        try:
            with self._sending:
                send(self._connection, message)
        except OSError as error:
            raise self._gone(error) from error

    def _read(self, number: int, kind: type[T]) -> T:
        """The reply to one ask. One of those who wait receives, and lays the replies to others aside for them."""
        with self._arrived:
            while number not in self._replies:
                if self._receiving:
                    self._arrived.wait()
                else:
                    self._take()
            reply = self._replies.pop(number)
        if isinstance(reply, Failed):
            raise read_error(reply)
        return msgspec.msgpack.decode(reply.value, type=kind)

    def _take(self) -> None:
        """Receive one message, for whomever it is; the others may look for theirs meanwhile."""
        self._receiving = True
        self._arrived.release()
        try:
            reply = self._receive()
        finally:
            self._arrived.acquire()
            self._receiving = False
            self._arrived.notify_all()
        if isinstance(reply, State):
            self._state = reply
        else:
            self._replies[reply.number] = reply

    def _receive(self) -> Done | Failed | State:
        try:
            body = receive(self._connection)
        except OSError as error:
            raise self._gone(error) from error
        if body is None:
            raise self._gone()
        reply: Done | Failed | State = _replies.decode(body)
        return reply

    def _gone(self, error: OSError | None = None) -> StrongboxEnded:
        if isinstance(error, TimeoutError):
            sys.stderr.write("the process that holds the tokens stands still: it is killed\n")
            self.process.kill()
        if not self._closing:
            self._watcher.join(PATIENCE)
        return StrongboxEnded("the process that holds the tokens has ended", hint="see its last words; start again")

    def _watch(self) -> None:
        status = self.process.wait()
        # A process that could not open the tokens says why, and ends well.
        if not self._closing and (self._opened or status):
            self._ended(status)


class RemoteSeries:
    """Signatures that a warden makes."""

    def __init__(self, box: RemoteStrongbox, number: int | None, count: int) -> None:
        self._box = box
        self._number = number
        self._count = count

    def wait(self) -> Sequence[Signed]:
        """All results, in the order of the items. What fails the series fails each of its items."""
        if self._number is None:
            return []
        try:
            results = self._box.read_series(self._number)
            if len(results) != self._count:
                raise SignatureMismatch(
                    f"{len(results)} signatures for {self._count} items", hint="nothing was returned"
                )
            return [read_signed(result) for result in results]
        except HsmError as error:
            return [Signed(error=error)] * self._count


def read_signed(result: Result) -> Signed:
    """A signature, or its failure, as the strongbox gave it."""
    return Signed(result.raw, read_error(result.failed) if result.failed else None, result.us)
