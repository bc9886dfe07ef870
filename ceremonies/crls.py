"""Revocation lists kept up to date: signed again within a minute of a revocation and at half of their life, published
as static files. A list that cannot be signed is an alarm before it ends.

A root's list is one, for a year's half; the others are one per CA, or, where the policy has `fleet.revocation`, 64.
"""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
import structlog
from sqlalchemy import Connection, select

from ceremonies.books import Partition, read_partition
from ceremonies.certified import load_authority
from ceremonies.commands import ListRevocations, RevocationListShown, RevocationsListed
from ceremonies.desk import Caller
from ceremonies.errors import KeyroomError
from ceremonies.journal import JournalForked
from ceremonies.keyring import KINDS, KeyEntry
from ceremonies.orders import Actor, Order
from ceremonies.public import write_file
from ceremonies.revoked import COMPLETE, PARTITIONS, ListFacts, RevokedRow
from ceremonies.room import Room
from ceremonies.store import table_of
from ceremonies.sums import Tally
from ceremonies.tables import HeadRow
from pki.x509.crls import KIND, CrlTerms, draft_crl
from pki.x509.errors import CrlInvalid
from pki.x509.issuers import Issuer
from pki.x509.revocation import Revoked, verify_origin

log = structlog.get_logger()

ALARM: Final = "crl "
FILES: Final = f"{ALARM}files"
TURN_EVERY_S: Final = 5.0
HOURS: Final = 24
ROOT_HOURS: Final = 24 * 182
"""Half a year: a root's token may be locked away, and its list covers a handful of CAs."""
RETRY_S: Final = (30, 60, 300, 900)
LISTER: Final = Actor(cred="", role="keyroom", src="", sub="crl")


class CrlUnsigned(KeyroomError):
    """A revocation list cannot be signed now."""

    code = "crl-unsigned"


class Scope(msgspec.Struct, frozen=True):
    """One list: of which key, for which partition, where it lies below the public directory, how long it lives.

    url: where its readers find it; empty for a complete list.
    """

    key: KeyEntry
    partition: int
    path: str
    life_s: int
    url: str = ""

    @property
    def at(self) -> Partition:
        """The CA and the partition."""
        return self.key.spki, self.partition


class Basis(msgspec.Struct):
    """What a list is made from, as of one moment: a view of the rows, what they must add up to, the list's number."""

    connection: Connection
    expected: Tally
    number: int
    issuer: Issuer


class Crls:
    """Has lists signed, and writes their files."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._root = room.settings.public
        self._written: dict[Partition, str] = {}
        self._failed: dict[str, tuple[int, int]] = {}

    async def turn(self) -> None:
        """Sign what is due, write what is new, tell what is late."""
        room = self._room
        scopes = await room.act(lambda: list(list_scopes(room)))
        late = 0
        for spki in {scope.key.spki: None for scope in scopes}:
            mine = [scope for scope in scopes if scope.key.spki == spki]
            why = await self._renew(mine)
            late += self._tell(mine, why)
        room.counters["crls_late"] = late
        kept = {f"{ALARM}{scope.key.label}" for scope in scopes} | {FILES}
        for name in [name for name in room.alarms if name.startswith(ALARM) and name not in kept]:
            room.alarms.pop(name)  # of a CA that was destroyed
        await self._publish_all(scopes)

    async def show(self, command: ListRevocations, caller: Caller) -> RevocationsListed:
        """The newest lists. Anybody may ask, so that nobody is kept waiting for the writer."""
        room = self._room
        scopes = await asyncio.to_thread(lambda: [(scope, self._facts(scope)) for scope in list_scopes(room)])
        revoked = room.ledger.replay.revoked
        return RevocationsListed(
            tuple(
                RevocationListShown(
                    scope.key.label, scope.path, facts.number, facts.covers.count, facts.this_update,
                    facts.next_update, facts.document, facts.covers == revoked.tally(*scope.at),
                )
                for scope, facts in scopes
                if facts is not None
            )
        )  # fmt: skip

    def _facts(self, scope: Scope) -> ListFacts | None:
        return self._room.ledger.replay.revoked.lists.get(scope.key.spki, {}).get(scope.partition)

    def _now(self) -> int:
        return self._room.surroundings.now_us() // 1_000_000

    def _is_due(self, scope: Scope) -> bool:
        facts = self._facts(scope)
        if facts is None or facts.covers != self._room.ledger.replay.revoked.tally(*scope.at):
            return True
        return self._now() >= facts.this_update + (facts.next_update - facts.this_update) // 2

    async def _renew(self, scopes: list[Scope]) -> Exception | None:
        """Sign the due lists of one CA; what stopped that, if something did. After failures it waits for a while.

        Rows that were changed stop the list of their partition alone.
        """
        label = scopes[0].key.label
        count, until = self._failed.get(label, (0, 0))
        due = [scope for scope in scopes if self._is_due(scope)]
        if not due or (count and self._now() < until):
            return None
        forked: JournalForked | None = None
        try:
            for scope in due:
                try:
                    await self._sign(scope)
                except JournalForked as error:
                    forked = forked or error
            if forked is not None:
                raise forked
        except Exception as error:  # noqa: BLE001  # of one CA; the lists of others go on
            self._failed[label] = (count + 1, self._now() + RETRY_S[min(count, len(RETRY_S) - 1)])
            log.error("a revocation list was not signed", ca=label, why=str(error))
            return error
        self._failed.pop(label, None)
        return None

    async def _sign(self, scope: Scope) -> None:
        """A crash on the way leaves an intent, which recovery closes; the list is due still: the next turn signs."""
        room = self._room
        with ExitStack() as reading:
            basis = await room.act(lambda: self._begin(scope, reading.enter_context(room.store.read())))
            order = await asyncio.to_thread(make_order, scope, basis, self._now())
        await room.seal(order)
        room.count("crls_signed")

    def _begin(self, scope: Scope, connection: Connection) -> Basis:
        """Writer's thread, nothing is under way: a reader who begins now sees the rows of the journal as it is now."""
        room = self._room
        connection.execute(select(table_of(HeadRow).c.size)).scalar()
        if scope.key.state != "active":
            raise CrlUnsigned(f"key {scope.key.label} is {scope.key.state}", hint="resume it before its lists end")
        room.door.strongbox.check_ready(scope.key.token)
        issuer = load_issuer(room, scope)
        revoked = room.ledger.replay.revoked
        return Basis(connection, revoked.tally(*scope.at), room.ledger.journal.size + revoked.skipped, issuer)

    def _tell(self, scopes: list[Scope], why: Exception | None) -> int:
        """The alarm of a CA: rows that were changed at once, else when a list has a quarter of its life left, or a
        revocation waits. How many lists are late.
        """
        room, label = self._room, scopes[0].key.label
        room_alarm = ALARM + label
        late = [scope for scope in scopes if self._is_late(scope)]
        if isinstance(why, JournalForked):
            room.alarms[room_alarm] = f"revocation lists of {label} are not signed: {why}"
        elif late and label in self._failed:
            room.alarms[room_alarm] = f"{len(late)} revocation lists of {label} are late: {why or 'as before'}"
        elif label not in self._failed:
            room.alarms.pop(room_alarm, None)
        return len(late)

    def _is_late(self, scope: Scope) -> bool:
        facts, tally = self._facts(scope), self._room.ledger.replay.revoked.tally(*scope.at)
        if facts is None or facts.covers != tally:
            return bool(tally.count)
        return self._now() >= facts.next_update - (facts.next_update - facts.this_update) // 4

    async def _publish_all(self, scopes: list[Scope]) -> None:
        """Write what is new. What cannot be written is told: readers see the list before it, until that ends."""
        told = ""
        for scope in scopes:
            try:
                await self._publish(scope)
            except Exception as error:  # noqa: BLE001  # of one list; the others are published
                told = told or f"{scope.path} is not published: {error}"
        if told:
            self._room.alarms[FILES] = told
        else:
            self._room.alarms.pop(FILES, None)

    async def _publish(self, scope: Scope) -> None:
        """Write the newest list's file, when this process has not. One that a recovery gave up stays until there is a
        newer one: it may be all that tells of a revocation.
        """
        room, facts = self._room, self._facts(scope)
        if facts is None or self._written.get(scope.at) == facts.document:
            return
        issuer = await room.act(lambda: load_issuer(room, scope))
        path = self._root / scope.path
        if await asyncio.to_thread(find_number, path, issuer) <= facts.number:
            data = await asyncio.to_thread(room.store.blob, facts.document)
            if data is None:
                raise CrlUnsigned(f"the list {scope.path} is missing", hint="restore the database")
            await asyncio.to_thread(write_file, path, data)
        self._written[scope.at] = facts.document


def list_scopes(room: Room) -> Iterator[Scope]:
    """The lists that there are to be: of each CA key that signs, or ever signed one, and has a certificate, where the
    policy has lists signed without officers. From any thread.
    """
    governing = room.door.governing
    rule = governing.policy.quorums.get(KIND) if governing and governing.genesis is None else None
    if governing is None or rule is None or rule.m:
        return
    terms = governing.policy.fleet.revocation
    certified = room.ledger.replay.generations.known
    for key in sorted(room.door.keyring, key=lambda key: key.label):
        # The lists of a CA that is suspended, or worse, grow old, and somebody must be told. One is destroyed only when
        # nothing needs its lists any more (`ceremonies.retirement`).
        signed = key.spki in room.ledger.replay.revoked.lists and key.state != "destroyed"
        living = key.state in ("active", "suspended") or signed
        if KIND not in KINDS.get(key.role, ()) or not living or key.spki not in certified:
            continue
        path = f"crl/{key.label}"
        if key.role == "identity-root":
            yield Scope(key, COMPLETE, f"{path}.crl", ROOT_HOURS * 3600)
        elif terms is None:
            yield Scope(key, COMPLETE, f"{path}.crl", HOURS * 3600)
        else:
            for partition in range(PARTITIONS):
                name = f"{partition:02x}.crl"
                url = f"{terms.prefix(key.label)}/{name}"
                yield Scope(key, partition, f"{path}/{name}", terms.hours * 3600, url)


def load_issuer(room: Room, scope: Scope) -> Issuer:
    """The CA of a list. Writer's thread. Raises CrlUnsigned, and what `load_authority` raises."""
    issuer: Issuer | None = room.cached(("authority", scope.key.spki), lambda: load_authority(room, scope.key.spki))
    if issuer is None:
        raise CrlUnsigned(f"CA {scope.key.label} has no certificate", hint="restore the database")
    return issuer


def find_number(path: Path, issuer: Issuer) -> int:
    """The number of a CA's list in a file; -1 when there is none."""
    try:
        return verify_origin(path.read_bytes(), issuer).number
    except (OSError, CrlInvalid):
        return -1


def make_order(scope: Scope, basis: Basis, now: int) -> Order:
    """The order for a list of what the rows say, which must be what the journal says. Raises JournalForked."""
    rows = read_partition(basis.connection, scope.at, basis.expected)
    span = [datetime.fromtimestamp(at, UTC) for at in (now, now + scope.life_s)]
    terms = CrlTerms(basis.number, span[0], span[1], scope.url)
    draft = draft_crl(
        basis.issuer, [entry_of(row) for row in rows], terms, ca=scope.key.label, covers=basis.expected.total,
        partition=scope.partition,
    )  # fmt: skip
    return Order(
        draft=draft,
        by=LISTER,
        name=scope.path.removeprefix("crl/"),
        inspect=lambda document: verify_origin(document, basis.issuer),  # the lint has read the entries
    )


def entry_of(row: RevokedRow) -> Revoked:
    """A row as an entry of a list."""
    return Revoked(int(row.number, 16), row.revoked_us // 1_000_000, row.reason)
