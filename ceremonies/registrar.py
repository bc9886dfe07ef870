"""The register: statements on devices, judged one by one, recorded in one commit.

A row follows from its entry; who forges one is found by the scrub, by the next start, and by every gate before it
counts a device as decommissioned.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, cast

import msgspec
from sqlalchemy import select

from ceremonies import entries
from ceremonies.claims import RequestMismatch
from ceremonies.commands import (
    Install,
    Move,
    RecordStatements,
    Replace,
    Return,
    Ship,
    Statement,
    StatementsRecorded,
    StatementVerdict,
)
from ceremonies.desk import Caller
from ceremonies.errors import BindingMismatch, DeviceUnknown, KeyroomError
from ceremonies.fleet_tables import RegisterRequestRow, RegisterRow
from ceremonies.grants import read_plant
from ceremonies.journal import RESTORE, EntryDraft, JournalForked, Placed
from ceremonies.orders import Actor
from ceremonies.procedures import LastWords
from ceremonies.registered import read_row
from ceremonies.room import Room
from ceremonies.store import Change, Insert, Row, Update, table_of
from ceremonies.tables import DeviceRow
from ceremonies.whereabouts import BATCH, Act, Whereabouts, follow_way, list_facts
from ceremonies.withdrawals import withdraw_ldevids

PAGE: Final = 500


class PlaceRefused(KeyroomError):
    """The device goes to another site, or the one that replaces it is of another class."""

    code = "place-refused"


class Registrar:
    """Records what callers say of devices."""

    def __init__(self, room: Room) -> None:
        self._room = room

    async def record(self, command: RecordStatements, caller: Caller) -> StatementsRecorded:
        """Judge and record. The same id and the same statements of the same caller get the same answer."""
        return await self._room.act(lambda: self._record(command, caller))

    def _record(self, command: RecordStatements, caller: Caller) -> StatementsRecorded:
        room, key = self._room, f"{caller.actor.sub}:{command.id}"
        body = hashlib.sha256(msgspec.msgpack.encode(command)).hexdigest()
        known = room.store.find(RegisterRequestRow, id=key)
        if known is not None:
            return self._recall(known["seq"], command.id, body)
        book = Book(room, caller, command.items)
        verdicts = tuple(book.judge(item) for item in command.items)
        answer = msgspec.json.encode(verdicts)
        refused = sum(bool(verdict.code) for verdict in verdicts)
        what = {
            "answer": hashlib.sha256(answer).hexdigest(), "body": body,
            "done": len(verdicts) - refused, "refused": refused,
        }  # fmt: skip
        head = entries.event(BATCH, caller.actor, what, req=command.id)
        words = book.write(caller.actor, {"req": command.id})

        def follow(placed: Sequence[Placed]) -> tuple[Sequence[Change], Iterable[bytes]]:
            request = Insert(RegisterRequestRow, {"id": key, "seq": placed[0].seq})
            return [request, *words.changes(placed[1:])], [answer]

        placed = room.ledger.commit(lambda _: [head, *words.drafts], follow, settles=room.ledger.settled)
        return StatementsRecorded(verdicts, placed[0].seq, replayed=False)

    def _recall(self, seq: int, request: str, body: str) -> StatementsRecorded:
        """The answer that an entry names. Raises RequestMismatch, and JournalForked when the row lies."""
        leaf = self._room.ledger.read_entry(seq)[1]
        what = leaf.op.what if leaf.type == BATCH and leaf.req == request and leaf.op and leaf.op.what else {}
        answer = self._room.store.blob(str(what.get("answer")))
        if answer is None:
            raise JournalForked(f"entry {seq} is no answer to {request}", hint=RESTORE)
        if what["body"] != body:
            raise RequestMismatch(f"request {request} was another request before", hint="use a new idempotency key")
        return StatementsRecorded(msgspec.json.decode(answer, type=tuple[StatementVerdict, ...]), seq, replayed=True)


class Book:
    """Where devices are as a batch goes through, and what is to be written. `caller` is None for officers' imports.

    Writer's thread, or a reader's for a rehearsal that writes nothing.
    """

    def __init__(self, room: Room, caller: Caller | None, items: Sequence[Statement]) -> None:
        self._room = room
        self._caller = caller
        self._now_us = room.surroundings.now_us()
        self._plants: dict[str, str] = {}
        serials = sorted({item.serial for item in items} | {item.by for item in items if isinstance(item, Replace)})
        self._devices = {row["serial"]: row for row in _find(room, DeviceRow, serials)}
        self._rows = {row["serial"]: read_row(row) for row in _find(room, RegisterRow, serials)}
        self._known = set(self._rows)
        self._written: list[tuple[str, Whereabouts, Whereabouts, str]] = []

    def judge(self, item: Statement) -> StatementVerdict:
        """Take a statement, or say why not: then nothing of it is kept."""
        try:
            self.take(item)
        except KeyroomError as error:
            told = item.serial in self._devices and not isinstance(error, BindingMismatch)
            state = self._at(item.serial).state if told else ""
            return StatementVerdict(item.serial, state, error.code, str(error), error.hint)
        return StatementVerdict(item.serial, self._at(item.serial).state)

    def take(self, item: Statement) -> None:
        """Follow a statement. Raises DeviceUnknown, BindingMismatch, StateRefused, PlaceRefused."""
        device, now = self._device(item.serial), self._at(item.serial)
        if now.site or not isinstance(item, Install):  # one that was shipped to no site in particular is for any site
            self._check_bound(device, now)
        if isinstance(item, Replace):
            self._replace(device, now, item)
            return
        act = cast(Act, item.__struct_config__.tag)
        there = place_after(item, now)
        if isinstance(item, Install | Move):
            self._check_bound(device, there)
        then = msgspec.structs.replace(there, state=follow_way(act, now), since_us=self._now_us)
        if isinstance(item, Install):
            check_site(now, item.site)
        self._write(now, then, f"device.{act}", getattr(item, "reason", ""))

    def _replace(self, device: Row, now: Whereabouts, item: Replace) -> None:
        """The one that comes stands where the other stood, and both know of each other."""
        other, came = self._device(item.by), self._at(item.by)
        if came.site:  # before anything is said of it
            self._check_bound(other, came)
        if other["class_name"] != device["class_name"] or item.by == item.serial:
            raise PlaceRefused(f"{item.by} is no other {device['class_name']}", hint="replace by a device of its class")
        check_site(came, now.site)
        state, stands, at = follow_way("replace", now), follow_way("install", came), self._now_us
        gone = msgspec.structs.replace(now, state=state, link=item.by, since_us=at)
        then = msgspec.structs.replace(now, serial=came.serial, state=stands, link=now.serial, since_us=at)
        self._write(now, gone, "device.replace", item.reason)
        self._write(came, then, "device.install", item.reason)

    def _write(self, before: Whereabouts, then: Whereabouts, kind: str, reason: str) -> None:
        self._written.append((kind, before, then, reason))
        self._rows[then.serial] = then

    def _device(self, serial: str) -> Row:
        if serial not in self._devices:
            raise DeviceUnknown(f"no device {serial} was issued here", hint="check the serial")
        return self._devices[serial]

    def _at(self, serial: str) -> Whereabouts:
        return self._rows.get(serial) or Whereabouts(serial, "issued")

    def _check_bound(self, device: Row, now: Whereabouts) -> None:
        """The site decides who speaks of a device; where there is none, the plant of its work order. The refusal does
        not say where the device is. Raises BindingMismatch.
        """
        if self._caller is None or self._caller.identity is None:
            return
        name, value = ("site", now.site) if now.site else ("plant", self._plant(device["work_order"]))
        if value not in self._caller.identity.bindings.get(name, ()):
            raise BindingMismatch(
                f"the token is not bound to the {name} of {now.serial}", hint=f"ask who speaks for its {name}"
            )

    def _plant(self, order: str) -> str:
        if order not in self._plants:
            self._plants[order] = read_plant(self._room, order)
        return self._plants[order]

    def write(self, by: Actor, context: Mapping[str, Any]) -> LastWords:
        """Entries and rows of all that was taken; who has left a site has no LDevID of it any more. Writer's thread."""
        drafts = self._draft(by.fields, context)
        withdrawn = withdraw_ldevids(self._room, self._list_left(), by, context)

        def changes(placed: Sequence[Placed]) -> Sequence[Change]:
            return [*self._change(placed[: len(drafts)]), *withdrawn.changes(placed[len(drafts) :])]

        return LastWords([*drafts, *withdrawn.drafts], changes)

    def _list_left(self) -> dict[str, str]:
        """The serials that have left a site where they were installed, each with the reason (RFC 5280)."""
        left: dict[str, str] = {}
        for _, before, then, _ in self._written:
            if before.state == "installed" and (then.state, then.site) != ("installed", before.site):
                moved = then.state == "installed"
                left.setdefault(then.serial, "affiliationChanged" if moved else "cessationOfOperation")
        return left

    def _draft(self, actor: Mapping[str, str], context: Mapping[str, Any]) -> list[EntryDraft]:
        """One entry for each device that a statement changed, in order."""
        drafts: list[EntryDraft] = []
        for kind, before, then, reason in self._written:
            about = {"class": self._devices[then.serial]["class_name"], **({"reason": reason} if reason else {})}
            what = {**list_facts(then, before), **about}
            drafts.append({"type": kind, "actor": actor, "op": {"kind": kind, "what": what}, **context})
        return drafts

    def _change(self, placed: Sequence[Placed]) -> list[Change]:
        """The rows that follow, now that the entries have places."""
        found: list[Change] = []
        for (_, _, then, _), at in zip(self._written, placed, strict=True):
            row = {**msgspec.to_builtins(then), "seq": at.seq}
            if then.serial in self._known:
                found.append(Update(RegisterRow, {"serial": then.serial}, row))
            else:
                found.append(Insert(RegisterRow, row))
            self._known.add(then.serial)
        return found


def place_after(item: Statement, now: Whereabouts) -> Whereabouts:
    """Where a device is after a statement. What goes back to the plant, or leaves it, is at no site any more."""
    replace = msgspec.structs.replace
    match item:
        case Install():
            return replace(now, operator=item.operator, site=item.site, rack=item.rack, asset=item.asset)
        case Move():
            return replace(now, site=item.site, rack=item.rack, asset=item.asset)
        case Ship():
            return replace(now, operator="", site=item.site, rack="", asset="")
        case Return():
            return replace(now, operator="", site="", rack="", asset="")
    return now


def check_site(now: Whereabouts, site: str) -> None:
    """A device that was shipped to a site is installed there. Raises PlaceRefused."""
    if now.state == "shipped" and now.site and now.site != site:
        raise PlaceRefused(
            f"{now.serial} was shipped to {now.site}, not to {site}", hint="have it returned, and shipped again"
        )


def _find(room: Room, model: Any, serials: Sequence[str]) -> Iterable[Row]:
    table = table_of(model)
    for start in range(0, len(serials), PAGE):
        yield from room.store.rows(select(table).where(table.c.serial.in_(serials[start : start + PAGE])))
