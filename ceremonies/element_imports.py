"""Manifests of secure elements, approved by officers as a whole: all of a file's entries, or none.

The manifest's signer and the CA above its elements are pinned in the policy; officers approve that this file is the one
of parts that were bought. Its SHA-256 stands in the plan, so that what was judged is what is done.
"""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import or_, select

from ceremonies import entries
from ceremonies.commands import (
    CheckManifest,
    ElementShown,
    ElementsListed,
    ListElements,
    ManifestChecked,
    RefusedElement,
)
from ceremonies.desk import Caller
from ceremonies.element_tables import ElementRow
from ceremonies.elements import IMPORT, Element, check_elements, tally_elements
from ceremonies.fleet import Makers
from ceremonies.imports import ImportRefused
from ceremonies.journal import Placed
from ceremonies.plans import ImportPlan, read_plan, write_plan
from ceremonies.procedures import Action, Closing, LastWords
from ceremonies.room import Room
from ceremonies.store import Change, Insert, table_of
from ceremonies.uploads import read_artefact
from pki.elements.manifests import BadEntry, ManifestKey, Pins, read_manifest
from pki.elements.paths import read_pins

SHOWN_BAD: Final = 1_000
PAGE: Final = 250
Keys = Mapping[int, ManifestKey]
Delivery = tuple[Keys, list[BadEntry], bytes]
"""Keys by entry, bad entries, the file's bytes."""


class ElementImports:
    """Looks at a manifest before officers are asked, and at what was imported."""

    def __init__(self, room: Room) -> None:
        self._room = room

    async def check(self, command: CheckManifest, caller: Caller) -> ManifestChecked:
        """What an import would do. Raises ArtefactMissing."""
        return await asyncio.to_thread(self._check, command.file)

    def _check(self, digest: str) -> ManifestChecked:
        keys, bad, _ = judge_manifest(self._room, read_delivery(self._room, digest))
        shown = tuple(RefusedElement(item.entry, item.why) for item in bad[:SHOWN_BAD])
        return ManifestChecked(count_parts(keys), shown, len(bad))

    async def list(self, command: ListElements, caller: Caller) -> ElementsListed:
        """A page of what is known."""
        return await asyncio.to_thread(self._list, command)

    def _list(self, command: ListElements) -> ElementsListed:
        table = table_of(ElementRow)
        query = select(table).where(table.c.spki > command.after).order_by(table.c.spki).limit(command.limit + 1)
        rows = self._room.store.rows(query)
        names = ("spki", "kind", "ident", "serial", "seq")
        shown = tuple(ElementShown(*(row[name] for name in names)) for row in rows[: command.limit])
        return ElementsListed(shown, shown[-1].key if len(rows) > command.limit else "")


def read_delivery(room: Room, digest: str) -> Delivery:
    """A file under the pins of the policy. A thousand entries take a second. Raises ArtefactMissing."""
    data = read_artefact(room, digest)
    makers = room.door.require_governing().policy.fleet.makers or Makers()
    pins = Pins(read_pins(makers.manifest_signers), read_pins(makers.element_roots))
    return (*read_manifest(data, pins, room.door.now()), data)


def judge_manifest(room: Room, delivery: Delivery) -> Delivery:
    """The same, with the entries that are known already among the bad ones, in order."""
    keys, bad, data = delivery
    return keys, sorted([*bad, *find_known(room, keys)], key=lambda item: item.entry), data


def find_known(room: Room, keys: Keys) -> list[BadEntry]:
    """The entries whose element or key is known already."""
    table, numbers = table_of(ElementRow), list(keys)
    known: dict[str, int] = {}
    for start in range(0, len(numbers), PAGE):
        part = [keys[number] for number in numbers[start : start + PAGE]]
        same = or_(table.c.spki.in_([item.spki for item in part]), table.c.ident.in_([item.unique_id for item in part]))
        for row in room.store.rows(select(table).where(same)):
            known |= {row["spki"]: row["seq"], row["ident"]: row["seq"]}
    return [
        BadEntry(number, f"element {key.unique_id} or its key is known by entry {known[name]} of the journal")
        for number, key in keys.items()
        for name in (key.unique_id, key.spki)
        if name in known and (name == key.unique_id or key.unique_id not in known)
    ]


def count_parts(keys: Keys) -> dict[str, int]:
    """How many elements of each part number; of an unnamed one under `-`."""
    return dict(sorted(Counter(key.part or "-" for key in keys.values()).items()))


def load_manifest(room: Room, delivery: Delivery) -> tuple[Keys, bytes]:
    """A file judged as it stands now: its keys, its bytes. Raises ImportRefused."""
    keys, bad, data = judge_manifest(room, delivery)
    if bad:
        told = [f"entry {item.entry}: {item.why}" for item in bad[:SHOWN_BAD]]
        raise ImportRefused(
            f"{len(bad)} entries cannot be imported, {told[0]}",
            hint="see all of them with `kedge element import FILE --dry-run`",
            details={"bad": told, "bad_count": len(bad)},
        )
    return keys, data


def prepare_manifest(room: Room, data: bytes) -> dict[str, Any]:
    """A file all of whose entries count. Officers see how many elements of each part number."""
    plan: ImportPlan = read_plan(data, ImportPlan)
    keys, file = load_manifest(room, read_delivery(room, plan.file))
    return {"content": write_plan(plan), "elements": len(keys), "parts": count_parts(keys), "size": len(file)}


def guard_manifest(room: Room, shown: Mapping[str, Any]) -> None:
    """Every entry still counts. Raises ImportRefused. What was read is kept for the close, where stations wait."""
    digest = shown["content"]["file"]
    delivery = room.cache["delivery", digest] = read_delivery(room, digest)
    load_manifest(room, delivery)


def close_manifest(room: Room, shown: Mapping[str, Any], closing: Closing) -> LastWords:
    """One entry that names the file, the list of its keys, and the sum of its rows. Raises ImportRefused,
    JournalForked.

    All rows are compared with the journal before: what was imported once, and taken away, is not imported again.
    """
    with room.store.read() as connection:
        check_elements(connection, room.ledger.replay.elements.tally)
    digest = shown["content"]["file"]
    keys, data = load_manifest(room, room.cached(("delivery", digest), lambda: read_delivery(room, digest)))
    rows = [Element(key.spki, "secure-element", key.unique_id) for key in keys.values()]
    listed = b"".join(sorted(bytes.fromhex(row.spki) for row in rows))
    tally = tally_elements(rows)
    what = {
        "count": tally.count, "file": digest, "keys": hashlib.sha256(listed).hexdigest(), "parts": shown["parts"],
        "reason": shown["content"]["reason"], "total": tally.total,
    }  # fmt: skip
    head = entries.event(IMPORT, closing.by, what, **closing.context)

    def changes(placed: Sequence[Placed]) -> Sequence[Change]:
        values = [{name: getattr(row, name) for name in Element.__struct_fields__} for row in rows]
        return [Insert(ElementRow, {**value, "seq": placed[0].seq}) for value in values]

    return LastWords([head], changes, [data, listed])


ELEMENTS_ACTION = Action(
    prepare=prepare_manifest, kinds=("elements-import",), close=close_manifest, guard=guard_manifest
)
