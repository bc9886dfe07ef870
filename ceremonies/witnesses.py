"""The journal's witnesses: has them cosign its heads, and says how far a quorum of them covers it. Never fail-open.

Ceremonies wait for the quorum (`demand`). Bulk work may run ahead of it, within limits (`check_order`). At start a
witness that has cosigned what the journal does not hold stops the keyroom (`check_start`).
"""

import asyncio
import datetime
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final, Protocol, TypeVar

import httpx
import structlog

from ceremonies.cosigned import CHECKED, Cosigned, check_cosigned, keep_cosigned, newest_cosigned
from ceremonies.errors import KeyroomError
from ceremonies.journal import JournalForked
from ceremonies.ledger import Ledger
from ceremonies.settings import KeyroomSettings
from ceremonies.store import octets
from ceremonies.submissions import (
    ASK_S,
    Head,
    Peer,
    WitnessContradicts,
    ask_witness,
    list_peers,
    open_client,
    read_witnesses,
    trust_authorities,
)
from ceremonies.surroundings import Surroundings
from ceremonies.tables import EntryRow
from pki.log.errors import LogError
from pki.log.leaves import parse_leaf
from pki.log.notes import verify_note
from pki.log.policy import weigh_cosignatures
from pki.log.proofs import encode_proof

log = structlog.get_logger()

T = TypeVar("T")

ADVANCE_EVERY_S: Final = 2.0
RENEW_US: Final = 60_000_000
"""How often an idle journal's head is cosigned anew: it is provable that nothing happened."""

PATIENCE_S: Final = 10.0
PAUSE_S: Final = 0.5
GRACE_S: Final = 0.25
"""How long a round that has its quorum waits for the other witnesses."""

MAX_AHEAD: Final = 10_000
MAX_AHEAD_US: Final = 60_000_000
ENTRIES_PER_ORDER: Final = 2


class WitnessesBehind(KeyroomError):
    """No quorum of witnesses has cosigned the journal as far as is needed. What was recorded stands; ask again."""

    code = "witnesses-behind"


class Act(Protocol):
    """Has something done on the writer's thread."""

    def __call__(self, task: Callable[[], T], /) -> Awaitable[T]:
        """The task's result."""


class Witnesses:
    """The quorum of the settings. `latest` is the newest checkpoint that it cosigned.

    Round and demand run in the event loop; everything else may be called from any thread. `patience_s`: how long a
    ceremony waits.
    """

    def __init__(self, settings: KeyroomSettings, ledger: Ledger, surroundings: Surroundings, act: Act) -> None:
        self.policy = read_witnesses(settings)
        self.patience_s = PATIENCE_S
        stored = newest_cosigned(ledger.store, CHECKED)
        self.latest = next((item for item in stored if self.suffices(item.note)), Cosigned())
        self.failures: Mapping[str, str] = {}
        self._peers = list_peers(self.policy)
        self._context = trust_authorities(self._peers, settings.witness_ca)
        self._ledger, self._around, self._act = ledger, surroundings, act
        self._sizes: dict[str, int] = {}
        self._turn = asyncio.Lock()
        self._confirmed_us: int | None = None
        self._uncovered: tuple[int, int] = (-1, 0)

    @property
    def asked(self) -> bool:
        """Whether the settings ask for a quorum at all."""
        return self.policy.is_witnessed

    def suffices(self, note: bytes) -> bool:
        """Whether the cosignatures on a stored checkpoint are true and make up the quorum of today's settings."""
        names = {key: name for name, key in self.policy.witnesses}
        try:
            signed = verify_note(note, names)[1] if self.asked else ()
        except LogError:  # a row is never believed, and one that somebody made up is as good as none
            return False
        return not weigh_cosignatures(self.policy, [names[item.key] for item in signed]).missing

    def covers(self, seq: int) -> bool:
        """Whether a quorum has cosigned a checkpoint over this entry, or none is asked for."""
        return not self.asked or seq < self.latest.size

    async def demand(self, size: int) -> None:
        """Wait until a quorum has cosigned the first `size` entries. Raises WitnessesBehind.

        Before the journal has a key there is nothing to cosign: the first checkpoint covers those entries.
        """
        if not self.asked or not (self._ledger.governed or self._ledger.log_key):
            return
        try:
            async with asyncio.timeout(self.patience_s):
                await self._reach(size)
        except TimeoutError as error:
            raise self._behind(f"the quorum covers {self.latest.size} entries, {size} are needed") from error

    async def _reach(self, size: int) -> None:
        """Ask until it is so. One round at a time: who waited for another's finds it done."""
        while self.latest.size < size:
            async with self._turn:
                if self.latest.size < size:
                    await self._round(self._act)
            if self.latest.size < size:
                await asyncio.sleep(PAUSE_S)

    async def prove(self, seq: int) -> bytes:
        """The tlog-proof of an entry that is covered, under the newest cosigned checkpoint."""
        cosigned = self.latest
        path = await self._act(lambda: self._ledger.journal.inclusion_proof(seq, cosigned.size))
        return encode_proof(seq, path, cosigned.note)

    async def advance(self) -> None:
        """Have the newest head cosigned when the journal has grown, or a minute has gone: the chore of every moment."""
        due = self._confirmed_us is None or self._around.now_us() - self._confirmed_us >= RENEW_US
        if self.asked and (due or self._ledger.journal.size > self.latest.size):
            async with self._turn:
                await self._round(self._act)

    def check_order(self, waiting: int) -> None:
        """An order may be sealed: the journal is not too far ahead of its quorum, `waiting` orders included.

        Raises WitnessesBehind; also from a start until a quorum has cosigned a head of this process.
        """
        if not self.asked or not self._ledger.governed:
            return
        if self._confirmed_us is None:
            raise self._behind("no quorum of witnesses has cosigned the journal since the keyroom started")
        ahead = self._ledger.journal.size - self.latest.size
        if ahead + ENTRIES_PER_ORDER * (waiting + 1) > MAX_AHEAD:
            raise self._behind(f"the journal is {ahead} entries ahead of its witnesses")
        if ahead > 0 and self._around.now_us() - self._oldest_us() > MAX_AHEAD_US:
            raise self._behind("the journal is more than a minute ahead of its witnesses")

    def problems(self) -> list[str]:
        """Why no order can be sealed, for the health report."""
        try:
            self.check_order(0)
        except WitnessesBehind as error:
            return [str(error)]
        return []

    def check_start(self) -> None:
        """The journal extends what was cosigned: the stored checkpoints, and what each witness that answers remembers.

        On the writer's thread, before anything is recorded or recovered. Raises JournalForked.
        """
        key = self._ledger.log_key
        if key is None and self.latest.size:
            raise JournalForked("checkpoints were cosigned, and the journal has no key", hint="restore the database")
        if key is None:
            return
        check_cosigned(self._ledger.store, self._ledger.journal, key.known)
        if not self.asked:
            return

        async def act(task: Callable[[], T]) -> T:
            return task()

        for error in asyncio.run(self._round(act)):
            if isinstance(error, WitnessContradicts):
                raise JournalForked(str(error), hint=error.hint) from error

    async def _round(self, act: Act) -> list[Exception]:
        """Ask every witness for the newest head, at once; what went wrong."""
        head = await act(self._head)
        if head is None:
            return []
        lines: dict[str, bytes] = {}
        errors: dict[str, Exception] = {}
        async with open_client(self._context) as client:
            tasks = {asyncio.create_task(self._ask(client, peer, head, act)): peer.name for peer in self._peers}
            try:
                await self._gather(tasks, head, (lines, errors), act)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        self._tell(errors)
        return list(errors.values())

    async def _gather(
        self,
        tasks: Mapping[asyncio.Task[bytes], str],
        head: Head,
        found: tuple[dict[str, bytes], dict[str, Exception]],
        act: Act,
    ) -> None:
        lines, errors = found
        pending, kept = set(tasks), 0
        while pending:
            done, pending = await asyncio.wait(
                pending, timeout=GRACE_S if kept else None, return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                break
            for task in done:
                error = task.exception()
                if error is None:
                    lines[tasks[task]] = task.result()
                elif isinstance(error, Exception):
                    errors[tasks[task]] = error
            if not kept and not weigh_cosignatures(self.policy, lines).missing:
                kept = await self._keep(head, lines, act)
        if kept and len(lines) > kept:
            await self._keep(head, lines, act)

    async def _ask(self, client: httpx.AsyncClient, peer: Peer, head: Head, act: Act) -> bytes:
        async def prove(old: int, new: int) -> tuple[bytes, ...]:
            return await act(partial(self._ledger.journal.consistency_proof, old, new))

        async with asyncio.timeout(ASK_S):
            old = min(self._sizes.get(peer.name, self.latest.size), head.size)
            line = await ask_witness(client, peer, old, head, prove)
        self._sizes[peer.name] = head.size
        return line

    def _head(self) -> Head | None:
        note = self._ledger.sign_checkpoint()
        return Head(self._ledger.journal.size, note) if note else None

    async def _keep(self, head: Head, lines: Mapping[str, bytes], act: Act) -> int:
        """Store the cosigned checkpoint, then count on it. A crash in between: the next start finds it stored."""
        ordered = [lines[name] for name, _ in self.policy.witnesses if name in lines]
        cosigned = Cosigned(head.size, head.note + b"".join(ordered))
        await act(lambda: keep_cosigned(self._ledger.store, cosigned))
        self.latest = cosigned
        self._confirmed_us = self._around.now_us()
        return len(lines)

    def _tell(self, errors: Mapping[str, Exception]) -> None:
        """Remember and log what is new of the witnesses that did not cosign."""
        told = {name: str(error) or type(error).__name__ for name, error in errors.items()}
        for name, why in told.items():
            if self.failures.get(name) != why:
                alarm = log.critical if isinstance(errors[name], WitnessContradicts) else log.warning
                alarm("a witness did not cosign", witness=name, why=why)
        self.failures = told

    def _oldest_us(self) -> int:
        """When the first entry that no quorum covers was written."""
        size = self.latest.size
        if self._uncovered[0] != size:
            row = self._ledger.store.find(EntryRow, seq=size)
            moment = datetime.datetime.fromisoformat(parse_leaf(octets(row["leaf"])).ts).timestamp() if row else 0
            self._uncovered = (size, round(moment * 1_000_000))
        return self._uncovered[1]

    def _behind(self, what: str) -> WitnessesBehind:
        told = "; ".join(f"{name}: {why}" for name, why in sorted(self.failures.items()))
        return WitnessesBehind(
            f"{what} ({told or 'no witness was asked yet'})", hint="ask again; see docs/witnesses.md"
        )
