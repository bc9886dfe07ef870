"""One thread's place at the strongbox: its sessions, its opened keys, and the call it is in."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from threading import Lock

from pkcs11 import types as p11

from hsm.errors import CallFailed, HsmError, RequestInvalid, TokenReplaced, refuse
from hsm.faults import Fault
from hsm.keys import KeyName, check_key_id, check_pair, check_registered, describe_key, find_pair
from hsm.module import Module, translate
from hsm.objects import find_objects, handle_of
from hsm.pins import PinSource
from hsm.signed import Item, Signed, sign_one
from hsm.signer import Signer
from hsm.templates import TolerantMapper
from hsm.tokens import TokenSettings

MAX_RANDOM_BYTES = 1024


class Register:
    """What all seats of a strongbox share: the tokens it may open, their serial numbers, and what was stopped.

    A key or token that was refused with Fault.STOP stays refused: a person must look, and start the process again.
    """

    def __init__(self, tokens: Mapping[str, TokenSettings]) -> None:
        self.tokens = tokens
        self.found: dict[str, p11.Token] = {}
        self.opening = Lock()
        self._stopped: dict[KeyName | str, HsmError] = {}

    def check(self, subject: KeyName | str) -> None:
        """Raise the error again that stopped a key, or a token by its label."""
        error = self._stopped.get(subject)
        if error is not None:
            raise type(error)(f"{error.message} (stopped earlier)", hint=error.hint, rv=error.rv)

    def note(self, subject: KeyName | str, error: HsmError) -> None:
        """Remember an error if it stops its subject."""
        if error.fault is Fault.STOP:
            self._stopped.setdefault(subject, error)

    @property
    def stopped(self) -> tuple[tuple[bytes, str], ...]:
        """(CKA_ID, error) of each key that was stopped; of a token the id is empty. From any thread."""
        items = tuple(self._stopped.items())
        return tuple((b"" if isinstance(name, str) else name.id, error.message) for name, error in items)


class Seat:
    """Sessions and handles of one thread. `since` is the clock's value at the start of the PKCS#11 call under way,
    None between calls; `call` names it. A watchdog reads both from another thread.
    """

    def __init__(self, module: Module, register: Register, clock: Callable[[], float], generation: int) -> None:
        self.generation = generation
        self.since: float | None = None
        self.call: tuple[str, object] = ("", "")
        self._module = module
        self._register = register
        self._clock = clock
        self._sessions: dict[str, p11.Session] = {}
        self._signers: dict[tuple[str, bytes], Signer] = {}

    @contextmanager
    def calling(self, call: str, about: object) -> Iterator[None]:
        """Time a PKCS#11 call and turn what python-pkcs11 raises into an error of this room."""
        self.call = (call, about)
        self.since = self._clock()
        try:
            with translate(call, about):
                yield
        finally:
            self.since = None

    def session(self, token: str) -> p11.Session:
        """The session with a token, opened and logged in when there is none.

        Raises TokenNotFound, TokenReplaced, PinIncorrect (after one try), PinLocked and what PinSource raises.
        """
        session = self._sessions.get(token)
        if session is None:
            # One thread at a time: the login belongs to the process, and a wrong PIN is tried once, not once a thread.
            with self._register.opening:
                self._register.check(token)
                try:
                    session = self._sessions[token] = self._open(token)
                except HsmError as error:
                    self._register.note(token, error)
                    raise
            return session
        # Asked first, because a search of python-pkcs11 in a lost session fails a second time when it is collected.
        about = f"token {token}"
        with self.calling("C_GetSessionInfo", about):
            if not self._module.is_logged_in(handle_of(session), about):
                raise refuse("CKR_USER_NOT_LOGGED_IN", "C_GetSessionInfo", about)
        return session

    def forget(self, token: str) -> None:
        """Close the session with a token; its keys are looked up again."""
        self._signers = {name: signer for name, signer in self._signers.items() if name[0] != token}
        session = self._sessions.pop(token, None)
        if session is not None:
            # The session may be what was lost; then there is nothing to close.
            with suppress(HsmError), self.calling("C_CloseSession", f"token {token}"):
                session.close()

    def sign(self, key: KeyName, data: bytes) -> bytes:
        """A raw, verified signature; see Strongbox.sign."""
        return self._check(key, data, self._make(key, data))

    def sign_all(self, items: Sequence[Item]) -> list[Signed]:
        """As `sign`, for many; what is wrong with one fails no other.

        All are made before the first is verified. Token and verifier have tables of their own, which they find no
        more in the processor's caches when they take turns for each signature.
        """
        made = [sign_one(self._make, key, data, self._clock) for key, data in items]
        return [self._check_one(item, signed) for item, signed in zip(items, made, strict=True)]

    def _check_one(self, item: Item, made: Signed) -> Signed:
        if made.error is not None:
            return made
        checked = sign_one(lambda key, data: self._check(key, data, made.raw), *item, self._clock)
        return Signed(checked.raw, checked.error, made.us + checked.us)

    def _make(self, key: KeyName, data: bytes) -> bytes:
        """A raw signature, which nobody gets before `_check`."""
        self._register.check(key)
        try:
            signer = self._signers.get((key.token, key.id)) or self._open_signer(key)
            check_registered(key, signer.spki)
            # The busiest path: what `calling` does, without its cost. The signer raises errors of this room itself.
            self.call = ("C_Sign", key)
            self.since = self._clock()
            return signer.make(data, key)
        except HsmError as error:
            self._register.note(key, error)
            raise
        finally:
            self.since = None

    def _check(self, key: KeyName, data: bytes, raw: bytes) -> bytes:
        """The signature, if it verifies under the public key that the token holds for this key."""
        self._register.check(key)
        try:
            self._signers[key.token, key.id].check(raw, data, key)
        except HsmError as error:
            self._register.note(key, error)
            raise
        return raw

    def find(self, token: str, key_id: bytes) -> list[p11.Object]:
        """All objects with an id, of any class."""
        check_key_id(key_id)
        session = self.session(token)
        with self.calling("C_FindObjects", describe_key(token, key_id)):
            return find_objects(session, key_id)

    def destroy(self, token: str, key_id: bytes) -> None:
        """Destroy every object with an id, private ones first, and look again. Raises CallFailed when one is left."""
        about = describe_key(token, key_id)
        self._signers.pop((token, key_id), None)
        for item in sorted(self.find(token, key_id), key=lambda item: not isinstance(item, p11.PrivateKey)):
            with self.calling("C_DestroyObject", about):
                item.destroy()
        if left := self.find(token, key_id):
            raise CallFailed(
                f"{about}, C_DestroyObject: {len(left)} objects are left", hint="look at the token and its log"
            )

    def draw_random(self, token: str, count: int) -> bytes:
        """Random bytes from the token's generator (C_GenerateRandom)."""
        if not 0 < count <= MAX_RANDOM_BYTES:
            raise RequestInvalid(f"{count} random bytes", hint=f"ask for 1 to {MAX_RANDOM_BYTES}")
        session = self.session(token)
        with self.calling("C_GenerateRandom", f"token {token}"):
            return session.generate_random(8 * count)

    def open_key(self, token: str, key_id: bytes, about: str) -> Signer:
        """Find a key pair, check it, and open its private key. Raises what find_pair and check_pair raise."""
        session = self.session(token)
        with self.calling("C_FindObjects", about):
            pair = find_pair(session, key_id, about)
        check_pair(pair, about)
        return Signer(self._module, handle_of(session), pair)

    def _open_signer(self, key: KeyName) -> Signer:
        signer = self.open_key(key.token, key.id, str(key))
        check_registered(key, signer.spki)
        self._signers[key.token, key.id] = signer
        return signer

    def _open(self, label: str) -> p11.Session:
        settings = self._register.tokens.get(label)
        about = f"token {label}"
        if settings is None:
            raise RequestInvalid(f"{about} is not in the settings", hint="add it to the settings, or correct the label")
        with self.calling("C_OpenSession", about):
            token = self._module.find_token(settings.label, settings.serial)
            known = self._register.found.setdefault(label, token)
            if token.serial != known.serial:
                raise TokenReplaced(
                    f"{about} has serial {token.serial!r}, at the start it was {known.serial!r}",
                    hint="put the token back, or start again and compare the inventory with the journal",
                )
            session = token.open(rw=True, attribute_mapper=TolerantMapper())
        try:
            self._log_in(handle_of(session), settings.pin, about)
        except HsmError:
            # Nobody else knows this session: left open, it would use up the token's sessions, one a try.
            with suppress(HsmError), self.calling("C_CloseSession", about):
                session.close()
            raise
        return session

    def _log_in(self, session: int, source: PinSource, about: str) -> None:
        with self.calling("C_Login", about):
            if self._module.is_logged_in(session, about):
                return
            with source.reveal() as pin:
                self._module.login(session, pin, about=about)
