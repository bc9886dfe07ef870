"""The strongbox: tokens and keys behind PKCS#11. It signs for keys by name, and knows nothing of what it signs.

Open it after the last fork, in one process, and call it from the thread that opened it; with `os_locking` any thread
may call. A forked child is refused: PKCS#11 libraries do not survive a fork.

Faults follow their return value (hsm.faults): a lost session is opened again once, a lost device or library is loaded
again at most every 30 s, a wrong PIN or an altered key stops that token or key until a person starts the process
again. A call cannot be interrupted: `in_call_since` lets a watchdog on another thread end the process.
"""

import os
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import Path
from threading import get_ident
from typing import Final, Self, TypeVar

from hsm.errors import (
    HsmError,
    KeyExists,
    StrongboxClosed,
    TokenNotFound,
    TokenUnavailable,
    WrongProcess,
    WrongThread,
)
from hsm.faults import Fault
from hsm.gate import Gate
from hsm.generation import check_request, generate_key
from hsm.inventory import TokenInventory, read_inventory
from hsm.keys import GeneratedKey, KeyName, describe_key
from hsm.memos import read_memos, write_memo
from hsm.module import Module
from hsm.seat import Register, Seat
from hsm.series import Calm, Made
from hsm.signed import Item, Signed, sign_one
from hsm.tokens import TokenSettings, check_tokens

Result = TypeVar("Result")

RELOAD_INTERVAL: Final = 30.0
_START_WAITS: Final = (0.05, 0.1, 0.2, 0.4)
"""Seconds: several processes that open a token at the same instant may not find it at first (measured)."""


class Strongbox(Calm, AbstractContextManager["Strongbox"]):
    """Keys in PKCS#11 tokens. Made by `open`."""

    def __init__(
        self, module: Module, tokens: Sequence[TokenSettings], *, os_locking: bool, clock: Callable[[], float]
    ) -> None:
        self._module = module
        self._register = Register({settings.name: settings for settings in tokens})
        self._os_locking = os_locking
        self._clock = clock
        self._owner, self._process = get_ident(), os.getpid()
        self._gate = Gate()
        self._seats: dict[int, Seat] = {}
        self._generation, self._closed, self._reloaded = 0, False, float("-inf")

    @classmethod
    def open(
        cls,
        module: Path,
        tokens: Sequence[TokenSettings],
        *,
        optional: Collection[str] = (),
        os_locking: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> Self:
        """Load a PKCS#11 library and log into every token, each with one try of its PIN.

        `optional` names tokens that may be away at the start. `clock` is monotonic, in seconds.
        Raises ModuleUnloadable, ModuleInUse, TokenNotFound (after some tries), TokenAmbiguous, RequestInvalid, and for
        the PIN PinIncorrect, PinLocked, PinUnreadable, PinFileUnsafe.
        """
        check_tokens(tokens)
        box = cls(Module(module, os_locking=os_locking), tokens, os_locking=os_locking, clock=clock)
        try:
            box._log_in(optional)
        except BaseException:
            box.close()
            raise
        return box

    def generate(self, token: str, key_id: bytes, label: str, algorithm: str) -> GeneratedKey:
        """Make a key pair (`p256`, `p384`, `ed25519`) with a CKA_ID of 16 bytes, and have it prove itself.

        A failure destroys what was made; if even that fails, the hint says so and `destroy` is to be called later.
        Raises RequestInvalid, KeyExists, ForeignKey, KeyAltered, SignatureMismatch and the faults of the token.
        """
        wanted = check_request(key_id, label, algorithm)
        about = describe_key(token, key_id, label)
        if self.exists(token, key_id):
            raise KeyExists(f"{about}: an object has this id already", hint="draw another id")
        try:
            # Not tried again: the first try may have left a key behind.
            return self._once(lambda seat: generate_key(seat, token, key_id, label, wanted))
        except HsmError as error:
            try:
                self.destroy(token, key_id)
            except HsmError as left:
                error.hint = f"{error.hint}; an object may be left, destroy it by its id ({left.message})"
            raise

    def sign(self, key: KeyName, data: bytes) -> bytes:
        """A raw signature over `data`, verified in software: r || s over the SHA-256 (P-256) or SHA-384 (P-384) of
        the data, or the 64 bytes of Ed25519.

        Raises KeyNotFound, KeyAmbiguous, ForeignKey, KeyAltered, PublicKeyDiffers, SignatureMismatch, token's faults.
        """
        return self._run(key.token, lambda seat: seat.sign(key, data))

    def start(self, items: Sequence[Item]) -> Made:
        """As `sign`, for many; what is wrong with one fails no other. Here all are made before this returns."""
        generation = self._generation
        signed = self._once(lambda seat: seat.sign_all(items))
        return Made([self._sign_again(generation, item, done) for item, done in zip(items, signed, strict=True)])

    def destroy(self, token: str, key_id: bytes) -> bool:
        """Destroy every object with this id; True when there was one. Afterwards none is left, or CallFailed."""
        existed = self.exists(token, key_id)
        self._run(token, lambda seat: seat.destroy(token, key_id))
        return existed

    def exists(self, token: str, key_id: bytes) -> bool:
        """Whether any object, private or public, has this id."""
        return bool(self._run(token, lambda seat: seat.find(token, key_id)))

    def inventory(self) -> tuple[TokenInventory, ...]:
        """Every token of the settings with all its objects."""
        return tuple(map(self.take_inventory, self._register.tokens))

    def take_inventory(self, token: str) -> TokenInventory:
        """One token with all its objects."""
        return self._run(token, partial(read_inventory, label=token))

    def random(self, count: int, token: str = "") -> bytes:
        """Random bytes, 1 to 1024, from the generator of a token; of the first when none is named."""
        name = token or next(iter(self._register.tokens))
        return self._run(name, lambda seat: seat.draw_random(name, count))

    def read_memos(self, token: str, label: str) -> tuple[bytes, ...]:
        """Every memo of a label; see `hsm.memos`. Raises MemoInvalid and the faults of the token."""
        return self._run(token, lambda seat: read_memos(seat, token, label))

    def write_memo(self, token: str, label: str, data: bytes) -> int:
        """Replace every memo of a label by one; how many there were. Raises RequestInvalid, the faults of the token."""
        return self._run(token, lambda seat: write_memo(seat, token, label, data))

    def has_found(self, token: str) -> bool:
        """Whether the token was there at least once."""
        return token in self._register.found

    @property
    def stopped(self) -> tuple[tuple[bytes, str], ...]:
        """What a person must look at: (CKA_ID, error) of each key that is refused; of a token the id is empty."""
        return self._register.stopped

    def token_serial(self, label: str) -> str:
        """The serial number of a token. Raises TokenNotFound."""
        if label not in self._register.found:
            raise TokenNotFound(f"token {label} is not in the settings", hint="add it, or correct the label")
        return self._register.found[label].serial.decode("ascii", "replace")

    @property
    def is_software(self) -> bool:
        """Whether the library or a token is SoftHSM, which production refuses: its keys are files."""
        tokens = [f"{token.manufacturer_id} {token.model}" for token in self._register.found.values()]
        names = [self._module.description, *tokens]
        return any("softhsm" in name.lower() for name in names)

    @property
    def in_call_since(self) -> float | None:
        """The clock's value when the oldest PKCS#11 call under way began; None when there is none. From any thread."""
        return min((since for seat in tuple(self._seats.values()) if (since := seat.since) is not None), default=None)

    @property
    def calls(self) -> tuple[str, ...]:
        """The PKCS#11 calls under way, with their token and key, for a watchdog's last words. From any thread."""
        return tuple(
            f"{seat.call[1]}, {seat.call[0]}" for seat in tuple(self._seats.values()) if seat.since is not None
        )

    def close(self) -> None:
        """Log out and finalise the library; a second call does nothing."""
        if self._closed:
            return
        self._check_caller()
        with self._gate.alone():
            self._closed = True
            with suppress(HsmError):
                self._module.finalise()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, token: str, work: Callable[[Seat], Result]) -> Result:
        """Do the work; after a fault that can be mended, mend it and do the work once more."""
        generation = self._generation
        try:
            return self._once(work)
        except HsmError as error:
            return self._mend(generation, error, token, work)

    def _sign_again(self, generation: int, item: Item, done: Signed) -> Signed:
        error = done.error
        if not isinstance(error, HsmError):
            return done

        def sign(key: KeyName, data: bytes) -> bytes:
            return self._mend(generation, error, key.token, lambda seat: seat.sign(key, data))

        return sign_one(sign, *item, self._clock)

    def _mend(self, generation: int, error: HsmError, token: str, work: Callable[[Seat], Result]) -> Result:
        """What a fault of this generation asks for, and the work once more. Raises the error when that is nothing."""
        if error.fault is Fault.RELOAD:
            self._reload(generation, error)
        elif error.fault is Fault.RETRY:
            self._once(lambda seat: seat.forget(token))
        else:
            raise error
        return self._once(work)

    def _once(self, work: Callable[[Seat], Result]) -> Result:
        self._check_caller()
        self._gate.enter()
        try:
            if self._closed:
                raise StrongboxClosed("the strongbox is closed", hint="open another one")
            return work(self._find_seat())
        finally:
            self._gate.leave()

    def _find_seat(self) -> Seat:
        """The seat of this thread; a new one after a reload, when all sessions and handles are void."""
        seat = self._seats.get(get_ident())
        if seat is None or seat.generation != self._generation:
            seat = self._seats[get_ident()] = Seat(self._module, self._register, self._clock, self._generation)
        return seat

    def _check_caller(self) -> None:
        if os.getpid() != self._process:
            raise WrongProcess(
                f"process {os.getpid()} is a fork of {self._process}, which opened the strongbox",
                hint="fork first, open afterwards",
            )
        if get_ident() != self._owner and not self._os_locking:
            raise WrongThread(
                f"thread {get_ident()} called, thread {self._owner} opened the strongbox",
                hint="call from the thread that opened it, or open it with os_locking",
            )

    def _reload(self, generation: int, fault: HsmError) -> None:
        """C_Finalize and C_Initialize, alone; sessions and logins follow at the next use."""
        self._check_caller()
        with self._gate.alone():
            if self._generation != generation:
                return  # another thread has reloaded meanwhile
            now = self._clock()
            if now - self._reloaded < RELOAD_INTERVAL:
                raise TokenUnavailable(
                    f"{fault.message}; the module was loaded again {now - self._reloaded:.0f} s ago",
                    hint=f"look at the device; the next try is {RELOAD_INTERVAL:.0f} s after the last",
                    rv=fault.rv,
                )
            self._reloaded = now
            self._generation += 1
            with self._find_seat().calling("C_Initialize", f"module {self._module.path}"):
                self._restart_module()

    def _restart_module(self) -> None:
        # What was lost may be the library itself: then there is nothing to finalise.
        with suppress(HsmError):
            self._module.finalise()
        self._module.initialise()

    def _log_in(self, optional: Collection[str]) -> None:
        """Open a session with every token; a token that is not there yet is waited for, a PIN is tried once."""
        for wait in (*_START_WAITS, None):
            try:
                for name in self._register.tokens:
                    self._log_in_one(name, may_lack=wait is None and name in optional)
                return
            except TokenNotFound:
                if wait is None:
                    raise
            time.sleep(wait)
            self._generation += 1
            self._restart_module()

    def _log_in_one(self, name: str, *, may_lack: bool) -> None:
        try:
            self._once(partial(Seat.session, token=name))
        except HsmError as error:
            if not may_lack or error.fault in (Fault.STOP, Fault.CALLER):
                raise
