"""The desk: finds out who asks, has it done, and turns every refusal into a Problem.

Roles come from the token that the caller brought, or from the certificate of a station or a device, verified here;
`local` is the keyroom's own user on the socket.
Every request that is not public leaves an entry, done or refused: the one its handler wrote, else one by the desk.
Failures without a valid token are gathered, one entry per minute and source: a stranger cannot fill the journal.
"""

import contextlib
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
import structlog

from ceremonies import entries
from ceremonies.commands import LOCAL, AnyResult, Command, Problem, Request
from ceremonies.errors import KeyroomError, TokenRefused
from ceremonies.journal import EntryDraft
from ceremonies.orders import Actor
from ceremonies.remembered import Remembered
from ceremonies.room import TRACE, Room, Trace
from ceremonies.stations import ClientCertificateUnknown
from ceremonies.tokens import Identity
from ceremonies.vigilance import BATCHES, StationTooFast
from pki.errors import PkiError

log = structlog.get_logger()

R = TypeVar("R")

LOCAL_ACTOR = Actor(cred="", role="local", src="local", sub="operator")
ANYONE = Actor(cred="", role="public", src="", sub="")
SOURCES_LIMIT = 256
INTERNAL = "internal-error"


class RoleRefused(KeyroomError):
    """The caller is known, and may not ask this."""

    code = "role-refused"


class TokenMissing(TokenRefused):
    """The command needs a token and none came."""

    code = "token-missing"


class Caller(msgspec.Struct, frozen=True):
    """Who asks: for the journal (`actor`), and as the token proves it (`identity`; None for local and public).
    repeated: somebody else may say again what the caller said, so that nothing is held against the caller.
    """

    actor: Actor
    identity: Identity | None = None
    repeated: bool = False

    @property
    def watched(self) -> Identity | None:
        """Whose conduct this is, for `Vigilance`."""
        return None if self.repeated else self.identity

    def require(self, name: str, value: str) -> None:
        """Refuse unless the token is bound to this value. Raises BindingMismatch."""
        if self.identity is not None:
            self.identity.require(name, value)

    def require_one_of(self, name: str, values: Sequence[str]) -> None:
        """Refuse unless the token is bound to one of these values. Raises BindingMismatch."""
        if self.identity is not None:
            bound = self.identity.bindings.get(name, ())
            self.identity.require(name, next((value for value in values if value in bound), ", ".join(values)))


Handler = Callable[[Any, Caller], Awaitable[AnyResult]]
Identify = Callable[[bytes], Awaitable[Identity]]


class Desk:
    """Answers requests with the handlers that the composition root gives it, one per command."""

    def __init__(self, room: Room, handlers: Mapping[type[Command], Handler], identify: Identify | None = None) -> None:
        """`identify`: which device shows a client certificate (DER) that is no station's; without it none is known."""
        self._room = room
        self._handlers = handlers
        self._identify_device = identify
        self._tokens = Remembered(room.jwks)
        self._suppressed: dict[str, tuple[int, bytes]] = {}

    async def answer(self, request: Request, *, local: bool) -> AnyResult | Problem:
        """The result of a request, or the Problem that says which rule refused it. Never raises."""

        async def work() -> AnyResult:
            caller = await self._identify(request, local=local)
            try:
                return await carry_out(self._room, self._handlers[type(request.command)], request.command, caller)
            except (KeyroomError, PkiError) as error:
                if request.command.signs and "public" in request.command.roles:
                    self.gather(request.source, error)
                raise

        return await answer_any(self._room, request.command, work)

    async def _identify(self, request: Request, *, local: bool) -> Caller:
        command = request.command
        if local and not request.token and "local" in command.roles:
            return Caller(LOCAL_ACTOR)
        if "public" in command.roles:
            return Caller(msgspec.structs.replace(ANYONE, src=request.source))
        try:
            identity = await self._verify(request)
        except KeyroomError as error:
            self.gather(request.source, error)
            raise
        try:
            return await admit(self._room, identity, command, request.source)
        except StationTooFast as error:
            self.gather(request.source, error)
            raise

    async def _verify(self, request: Request) -> Identity:
        if not request.token and request.certificate:
            return await self._recognise(request.certificate)
        if not request.token:
            raise TokenMissing("no token", hint="send Authorization: Bearer with a token of an issuer in the policy")
        policy, now = self._room.door.require_governing().policy, self._room.door.now()
        shown = hashlib.sha256(request.certificate).hexdigest() if request.certificate else ""
        try:
            return self._tokens.verify(request.token, policy, now, shown)
        except KeyroomError as error:
            # Keys are fetched once and the token is tried once more; what the policy does not name is never fetched.
            if error.code not in ("token-key-unknown", "jwks-unavailable"):
                raise
            issuer = policy.issuer_of(str(error.details["issuer"]))
        await self._room.jwks.refresh(issuer, now, key_unknown=True)
        return self._tokens.verify(request.token, policy, now, shown)

    async def _recognise(self, certificate: bytes) -> Identity:
        """The station or the device that shows a client certificate. Raises TokenRefused, DeviceTooFast."""
        try:
            return self._room.ledger.replay.stations.identify(certificate, self._room.door.now())
        except ClientCertificateUnknown:
            if self._identify_device is None:
                raise
        return await self._identify_device(certificate)

    async def renew_keys(self) -> None:
        """Have the keys of issuers renewed that are due."""
        governing = self._room.door.governing
        if governing is not None:
            await self._room.jwks.renew(governing.policy.issuers, self._room.door.now())

    def gather(self, source: str, error: Exception) -> None:
        """A failure without a valid token, to be written with others of the same source."""
        key = source if source in self._suppressed or len(self._suppressed) < SOURCES_LIMIT else "others"
        count, digest = self._suppressed.get(key, (0, b""))
        self._suppressed[key] = (count + 1, hashlib.sha256(digest + entries.reason(error).encode()).digest())

    async def record_suppressed(self) -> None:
        """Write what was gathered since the last time: one entry per source, with a count and a hash chain's end."""
        gathered = dict(self._suppressed)
        drafts = [
            entries.event(
                "suppressed", msgspec.structs.replace(ANYONE, src=source), {"count": count, "sha256": digest.hex()}
            )
            for source, (count, digest) in gathered.items()
        ]
        if not drafts:
            return
        self._suppressed.clear()
        try:
            await self._room.act(lambda: self._room.ledger.record(drafts))
        except KeyroomError:
            self._restore(gathered)
            raise

    def _restore(self, gathered: Mapping[str, tuple[int, bytes]]) -> None:
        """Gather again what could not be written; what came in the meantime is chained behind it."""
        for source, (count, digest) in gathered.items():
            later, end = self._suppressed.get(source, (0, b""))
            self._suppressed[source] = (count + later, hashlib.sha256(digest + end).digest() if later else digest)


async def admit(room: Room, identity: Identity, command: Command, source: str) -> Caller:
    """The role may ask this, and a station is not stopped; else an entry says so.

    Raises what `let_in` raises; StationTooFast, which leaves no entry.
    """
    if identity.role == "station":
        room.vigilance.spend(identity.sub, command)
    return await let_in(room, identity, command, source)


async def let_in(room: Room, identity: Identity, command: Command, source: str, *, repeated: bool = False) -> Caller:
    """As `admit`, for who has spent of its rate already. Raises RoleRefused, and what `Vigilance.check` raises."""
    actor = Actor(cred=identity.cred, role=identity.role, src=source, sub=identity.sub)
    try:
        if identity.role == "station":
            await room.vigilance.check(identity.sub, source, repeated=repeated)
        if identity.role not in command.roles:
            allowed = ", ".join(sorted(command.roles - LOCAL)) or "none; it is taken on the keyroom's own machine only"
            raise RoleRefused(f"role {identity.role} may not ask this", hint=f"roles: {allowed}")
    except KeyroomError as refusal:
        await record_request(room, "auth.fail", command, actor, refusal)
        raise
    return Caller(actor, identity, repeated)


async def answer_any(room: Room, command: Command, work: Callable[[], Awaitable[R]]) -> R | Problem:
    """The result of the work that a command asks for, or the Problem that says which rule refused it. Never raises."""
    name = tag_of(command)
    room.count(f"requests_{name}")
    try:
        return await work()
    except Exception as error:  # noqa: BLE001  # whatever happens, the caller gets an answer and no traceback
        count_refusal(room, command, error)
        return problem_of(error, name)


def count_refusal(room: Room, command: Command, error: Exception) -> None:
    """One more refusal of a command, for the metrics and the alarm for cloned keys."""
    room.count(f"refusals_{tag_of(command)}")
    if hasattr(command, "work_order") and entries.is_strange(error):
        room.count("strange_requests")
    if getattr(error, "code", "") in ("key-known", "element-taken"):
        room.count("cloned_keys")


async def carry_out(
    room: Room,
    handler: Callable[[Any, Caller], Awaitable[R]],
    command: Command,
    caller: Caller,
    later: list[EntryDraft] | None = None,
) -> R:
    """Have a command done, and see to it that it leaves an entry, done or refused. Raises what the handler raises.

    later: where the entry of a done command is put that left none of its own, for whoever writes many at once.
    """
    if "public" in command.roles:
        return await handler(command, caller)
    trace = Trace()
    TRACE.set(trace)
    try:
        result = await handler(command, caller)
    except Exception as error:
        # The refusal is the answer, also where nothing can be written.
        with contextlib.suppress(KeyroomError, PkiError):
            if not trace.recorded:
                await record_request(room, "auth.fail", command, caller.actor, error)
            await room.vigilance.note(caller.watched, error)
        raise
    if not isinstance(command, BATCHES):  # each of their items was noted
        await room.vigilance.note(caller.watched, None)
    if not trace.recorded and later is not None:
        later.append(entries.event("export", caller.actor, describe(command)))
    elif not trace.recorded:
        await record_request(room, "export", command, caller.actor)
    return result


async def record_request(room: Room, kind: str, command: Command, by: Actor, error: Exception | None = None) -> None:
    """Write what was asked, and why it was refused."""
    what = describe(command)
    if error is not None:
        what["why"] = entries.reason(error) if is_ours(error) else INTERNAL
    await room.act(lambda: room.ledger.record([entries.event(kind, by, what)]))


def tag_of(command: Command) -> str:
    """The command's name on the wire."""
    return str(command.__struct_config__.tag)


def describe(command: Command) -> dict[str, Any]:
    """A command for the journal: its names and digests as they are, bytes as their SHA-256."""
    what: dict[str, Any] = {"command": tag_of(command)}
    for name in command.__struct_fields__:
        value = getattr(command, name)
        if isinstance(value, bytes):
            what[name] = hashlib.sha256(value).hexdigest()
        elif isinstance(value, str | int) and value != "":
            what[name] = value
    return what


def is_ours(error: Exception) -> bool:
    """Whether the error belongs to one of our trees: it has a stable code and says what to do."""
    return isinstance(getattr(error, "code", None), str) and hasattr(error, "hint")


def problem_of(error: Exception, command: str) -> Problem:
    """An error as the caller sees it. What has no code of ours is logged, and told as an internal error."""
    if not is_ours(error):
        log.error("internal error", command=command, error=type(error).__name__, exc_info=error)
        return Problem(INTERNAL, "the keyroom failed on this request", "tell the operator the time of it")
    facts: Any = error
    return Problem(facts.code, str(error), str(facts.hint), dict(getattr(error, "details", {})))
