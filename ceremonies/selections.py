"""Many certificates revoked at once: by work order, by key, or by the list of an incident.

The selection is frozen when the ceremony is opened: officers approve how many there are and the SHA-256 of the list. So
a stolen credential of one officer ends one certificate at a time, and never a fleet.
"""

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from ceremonies.certified import Issued, walk_authority, walk_order
from ceremonies.commands import PreviewRevocation, RevocationPreviewed
from ceremonies.desk import Caller
from ceremonies.plans import Name, PlanMalformed, read_plan, write_plan
from ceremonies.procedures import Action, Closing, LastWords
from ceremonies.quorums import StepOutdated
from ceremonies.revocations import REVOKE, Grounds, find_certificate, list_pending, list_resting, revoke_changes
from ceremonies.room import Room
from pki.x509.errors import ReasonUnknown
from pki.x509.reasons import read_reason

LARGEST = 200_000
SHOWN = 50
AT_ONCE = 200
"""Certificates that are looked up in one task of the writer."""

Run = Callable[[Callable[[], Any]], Any]
"""Does something on the writer's thread."""


class RevokePlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a ceremony revokes: what was issued under a work order, or by a CA's key (its label), or an incident's list
    of serials and certificate numbers (hex). Exactly one of the three.
    """

    reason: str
    why: Annotated[str, Meta(min_length=1, max_length=256)]
    work_order: Name | None = None
    key: Name | None = None
    serials: Annotated[tuple[Annotated[str, Meta(max_length=64)], ...], Meta(max_length=10_000)] = ()
    numbers: Annotated[tuple[Annotated[str, Meta(pattern="^[0-9a-f]{1,40}\\Z")], ...], Meta(max_length=10_000)] = ()

    def __post_init__(self) -> None:
        try:
            read_reason(self.reason)
        except ReasonUnknown as error:
            raise ValueError(f"revoke: {error.message}; {error.hint}") from error
        if [self.work_order is not None, self.key is not None, bool(self.serials or self.numbers)].count(True) != 1:
            raise ValueError("revoke: name a work order, or a key, or serials and numbers")


class Selections:
    """What a revocation would do."""

    def __init__(self, room: Room) -> None:
        self._room = room

    async def preview(self, command: PreviewRevocation, caller: Caller) -> RevocationPreviewed:
        """What a ceremony with this plan would revoke. The desk records who asked."""
        shown = await asyncio.to_thread(prepare_revoke, self._room, command.plan)
        listed = shown["selected"]
        return RevocationPreviewed(listed["count"], listed["revoked"], listed["sha256"], tuple(listed["first"]))


def prepare_revoke(room: Room, data: bytes) -> dict[str, Any]:
    """The plan with its selection: how many, how many of them are revoked already, the SHA-256 of the list, the first
    ones. What is issued later is not in it: `size` says up to which entry it was made. Raises PlanMalformed.
    """
    plan: RevokePlan = read_plan(data, RevokePlan)
    size, run = room.ledger.journal.size, room.writer.run_now
    selected = select_certificates(room, plan, size, run)
    if not selected:
        raise PlanMalformed("revoke: no certificate is selected", hint="see `kedge certificate status`")
    pending: list[Issued] = run(lambda: list(list_pending(room, selected)))
    listed = {
        "count": len(selected),
        "first": [f"{item.number} {item.serial or item.subject}" for item in selected[:SHOWN]],
        "revoked": len(selected) - len(pending),
        "sha256": digest_selection(selected),
        "size": size,
    }
    return {"content": write_plan(plan), "selected": listed}


def select_certificates(room: Room, plan: RevokePlan, size: int, run: Run) -> Sequence[Issued]:
    """What a plan selects of what the first `size` entries issued, sorted.

    Raises PlanMalformed, KeyUnknown, CertificateUnknown, JournalForked.
    """
    found: set[Issued] = set()
    if plan.work_order is not None:
        found.update(walk_order(room.store, plan.work_order, size))
    elif plan.key is not None:
        found.update(walk_authority(room.store, room.door.keyring.labelled(plan.key).spki, size))
    else:
        names = [(serial, "") for serial in plan.serials] + [("", number) for number in plan.numbers]
        for start in range(0, len(names), AT_ONCE):
            part = names[start : start + AT_ONCE]
            found.update(run(partial(_find_all, room, part)))
    if len(found) > LARGEST:
        raise PlanMalformed(
            f"revoke: {len(found)} certificates, {LARGEST} at once", hint="go by work order, or revoke the CA's own"
        )
    return sorted(found)


def _find_all(room: Room, names: Sequence[tuple[str, str]]) -> list[Issued]:
    return [find_certificate(room, *name) for name in names]


def digest_selection(selected: Sequence[Issued]) -> str:
    """Lowercase hex SHA-256 over a line `CA's SPKI digest, colon, number` for each certificate, sorted."""
    lines = "".join(f"{item.ca}:{item.number}\n" for item in selected)
    return hashlib.sha256(lines.encode("ascii")).hexdigest()


def guard_revoke(room: Room, shown: Mapping[str, Any]) -> None:
    """The selection is still the one that was approved; it is kept for the close. Raises StepOutdated."""
    selected = _select_again(room, shown, room.writer.run_now)
    room.cache["selection", shown["selected"]["sha256"]] = selected


def _select_again(room: Room, shown: Mapping[str, Any], run: Run) -> Sequence[Issued]:
    plan, listed = msgspec.convert(shown["content"], RevokePlan), shown["selected"]
    selected = select_certificates(room, plan, listed["size"], run)
    if digest_selection(selected) != listed["sha256"]:
        raise StepOutdated(
            "the certificates are not those that were selected when the ceremony was opened",
            hint="a serial has another certificate now, or the database was changed: propose a new ceremony",
        )
    return selected


def close_revoke(room: Room, shown: Mapping[str, Any], closing: Closing) -> LastWords:
    """Revoke what was selected, but for what is revoked already; with devices that were named, what rests on them. A
    CA's key says nothing of the keys of devices: what rests on those that it certified stays.
    """
    selected = room.cache.pop(("selection", shown["selected"]["sha256"]), None)
    if selected is None:
        selected = _select_again(room, shown, lambda task: task())
    plan = msgspec.convert(shown["content"], RevokePlan)
    resting = list_resting(room, selected) if plan.key is None else ()
    return revoke_changes(room, [*selected, *resting], Grounds(plan.reason, plan.why), closing.by, closing.context)


REVOKE_ACTION = Action(prepare=prepare_revoke, kinds=(REVOKE,), close=close_revoke, guard=guard_revoke)
