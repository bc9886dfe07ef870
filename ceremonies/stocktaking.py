"""Tokens against the journal: at the start, and every few minutes. What differs is suspended, recorded and told.

An object that the journal does not know, a key that is missing, altered or of another public key, a private key that
the journal calls destroyed: each is an alarm (entry `hsm.inventory`, readiness, metrics). A key of ours that is not as
it was made may sign nothing until a `resume` ceremony.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Final

import structlog

from ceremonies import entries, keywork
from ceremonies.anchors import TokenAnchor
from ceremonies.door import Door, key_name
from ceremonies.errors import KeyroomError
from ceremonies.keyring import KeyEntry
from ceremonies.orders import Actor
from ceremonies.recovery import (
    EXCUSED,
    MAX_DIFFERENCES,
    Difference,
    Stock,
    check_differences,
    check_keys,
    close_open_intents,
    inventory_facts,
    make_printable,
)
from ceremonies.room import Room

log = structlog.get_logger()

KEEPER: Final = Actor(cred="", role="keyroom", src="", sub="inventory")
RECORDED_EVERY_US: Final = 24 * 3600 * 1_000_000
"""An inventory that found nothing new is recorded once a day."""
HARMLESS: Final = "not-cloned"
"""A clone that lacks a newer key: told and recorded, and the token's first place has it."""
ALARM: Final = "inventory"

Compare = Callable[[Iterable[Any], Sequence[Any], Collection[tuple[str, str]]], Sequence[Difference]]


class Shelves:
    """What an inventory found, as recovery asks for it."""

    def __init__(self, found: Iterable[Any]) -> None:
        self._held = {(token.label, item.id) for token in found for item in token.objects}

    def exists(self, token: str, key_id: bytes) -> bool:
        """Whether any place of the token holds an object of this id."""
        return (token, key_id) in self._held


def start(door: Door, by: Actor, compare: Compare, anchor: TokenAnchor) -> None:
    """Recover, compare tokens with the journal, record the start. No key is used before this is done.

    Raises JournalForked, KeyResurrected, KeyMissing, InventoryDiffers.
    """
    closed = close_open_intents(door.ledger, door.keyring, door.strongbox)
    found = door.strongbox.inventory()
    check_keys(door.keyring, Shelves(found))
    living = [key for key in door.keyring if key.state != "destroyed"]
    differences = compare([key_name(key) for key in living], found, anchor.places)
    door.ledger.record(
        [
            entries.event("log.start", by, {"closed_intents": closed, **anchor.facts}),
            entries.event("hsm.inventory", by, inventory_facts(found, differences)),
        ]
    )
    tell(differences)
    ours = {bytes.fromhex(key.cka_id) for key in living if key.state not in EXCUSED}
    check_differences([item for item in differences if item.kind != HARMLESS], ours)
    door.ledger.anchor()


def tell(differences: Sequence[Difference]) -> None:
    """Log each difference; what touches no key of ours at the token's first place is no emergency."""
    for item in differences:
        say = log.warning if item.kind == HARMLESS else log.critical
        say("a token differs from the journal", kind=item.kind, token=item.token, why=item.reason)


class Stocktaking:
    """The comparison while the keyroom runs. Its turns run on the writer's thread."""

    def __init__(self, room: Room, compare: Compare) -> None:
        self._room = room
        self._compare = compare
        self._known: frozenset[Any] = frozenset()
        self._recorded = room.surroundings.mono_us()

    async def turn(self) -> None:
        """Compare once. Raises what the strongbox and the ledger raise; the next turn tries anew."""
        try:
            await self._room.act(self._turn)
        except KeyroomError:
            raise  # the queue is full, or the store is away: that is told elsewhere
        except Exception as error:
            self._room.alarms[ALARM] = f"tokens could not be compared with the journal: {error}"
            raise

    def _turn(self) -> None:
        room, door = self._room, self._room.door
        found, differences = self._look()
        if differences:
            # A token that loses objects for the length of one search must not stop the fleet's keys.
            found, again = self._look()
            differences = [item for item in again if item in differences]
        self._record(found, differences)
        suspended = self._suspend(differences)
        grave = [item for item in differences if item.kind != HARMLESS]
        room.counters["inventory_turns"] = room.counters.get("inventory_turns", 0) + 1
        room.counters["inventory_differences"] = len(differences)
        room.counters["inventory_suspensions"] = room.counters.get("inventory_suspensions", 0) + suspended
        room.alarms.pop(ALARM, None)
        if grave or door.strongbox.stopped:
            count = len(grave) + len(door.strongbox.stopped)
            room.alarms[ALARM] = f"tokens differ from the journal in {count} objects: see the newest hsm.inventory"

    def _look(self) -> tuple[Sequence[Stock], list[Difference]]:
        """What lies in the tokens that answer, and how it differs from the journal."""
        door = self._room.door
        found = door.strongbox.inventory()
        there = {token.label for token in found}
        names = [key_name(key) for key in door.keyring if key.state != "destroyed" and key.token in there]
        return found, list(self._compare(names, found, self._room.anchor.places))

    def _record(self, found: Sequence[Stock], differences: Sequence[Difference]) -> None:
        room, now = self._room, self._room.surroundings.mono_us()
        new = [item for item in differences if item not in self._known]
        changed = frozenset(differences) != self._known
        if changed or now - self._recorded >= RECORDED_EVERY_US:
            facts = inventory_facts(found, differences)
            if back := self._find_resurrected(differences):
                facts["resurrected"] = back
            room.ledger.record([entries.event("hsm.inventory", KEEPER, facts)])
            self._known, self._recorded = frozenset(differences), now
        if new:
            tell(new)
            room.counters["inventory_alarms"] = room.counters.get("inventory_alarms", 0) + len(new)

    def _find_resurrected(self, differences: Sequence[Difference]) -> list[str]:
        """The labels of keys that the journal calls destroyed and a token holds again."""
        unknown = {item.id for item in differences if item.kind == "unknown"}
        destroyed = (key for key in self._room.door.keyring if key.state == "destroyed")
        return sorted(key.label for key in destroyed if bytes.fromhex(key.cka_id) in unknown)[:MAX_DIFFERENCES]

    def _suspend(self, differences: Sequence[Difference]) -> int:
        """Suspend the keys of ours that are not as they were made, and those that the strongbox refuses; how many."""
        why = {item.id: f"inventory: {item.kind}: {item.reason}" for item in differences if item.kind != HARMLESS}
        why |= {key_id: f"strongbox: {said}" for key_id, said in self._room.door.strongbox.stopped if key_id}
        touched = [key for key in self._room.door.keyring if bytes.fromhex(key.cka_id) in why]
        return sum(self._suspend_one(key, why[bytes.fromhex(key.cka_id)]) for key in touched)

    def _suspend_one(self, key: KeyEntry, why: str) -> bool:
        if key.state not in ("active", "pre-activation") or key.role == "journal":
            return False
        reason = make_printable(why)
        try:
            keywork.change_states(self._room.door, [key.label], "suspended", KEEPER, why=reason)
        except KeyroomError as error:
            log.critical("a key that differs could not be suspended", key=key.label, why=str(error))
            return False
        log.critical("key suspended", key=key.label, why=reason)
        return True
