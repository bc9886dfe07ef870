"""Events: journal entries as monitoring wants them, with a severity, the asset, and the change that they belong to.

An event is no proof and holds no signature, no digest of a document: whoever needs proof takes the entry at its index.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec
from sqlalchemy import select

from ceremonies.results import AssetShown, EventShown, EventsListed
from ceremonies.store import Store, octets, table_of
from ceremonies.tables import EntryRow, WorkOrderRow

Severity = Literal["info", "notice", "warning", "critical"]
SEVERITIES: Final[tuple[Severity, ...]] = ("info", "notice", "warning", "critical")
SAID_LIMIT: Final = 500
READING: Final = "events from "
"""How the entry of a reading of events begins to say what was read."""

_NOTICED: Final = (
    "ceremony.",
    "key.generate.outcome",
    "key.destroy.outcome",
    "key.state",
    "policy.",
    "device.decommission",
    "device.import",
    "element.import",
    "roster.",
    "station.",
    "log.",
    "quota.",
    "device.scrap",
    "certificate.revoke",
    "certificate.switch",
    "grant.",
)
_STATES: Final = {"suspended": "key-suspended", "compromised": "key-compromised"}
_ALARMS: Final = {"station.suspend": "station-suspended", "log.recover": "log-recovered", "grant.stray": "site-box"}
_CLONED: Final = ("key-known", "element-taken")
_leaf = msgspec.json.Decoder(dict[str, Any])


class Events:
    """Reads events from a store, from any thread. Plants of work orders are remembered."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._plants: dict[str, str] = {}

    def read(self, start: int, limit: int, size: int) -> EventsListed:
        """At most `limit` events from index `start` on, of the first `size` entries. Raises StoreUnavailable."""
        row = table_of(EntryRow).c
        query = select(row.seq, row.leaf).where(row.seq >= start, row.seq < size).order_by(row.seq).limit(limit)
        found = [self._describe(item["seq"], octets(item["leaf"])) for item in self._store.rows(query)]
        return EventsListed(tuple(found), found[-1].index + 1 if found else start, size)

    def _describe(self, index: int, data: bytes) -> EventShown:
        event = describe_entry(index, _leaf.decode(data))
        if event.asset.work_order and not event.asset.plant:
            asset = msgspec.structs.replace(event.asset, plant=self._find_plant(event.asset.work_order))
            return msgspec.structs.replace(event, asset=asset)
        return event

    def _find_plant(self, work_order: str) -> str:
        """The plant that an approved work order names; empty when there is no such order."""
        if work_order not in self._plants:
            row = self._store.find(WorkOrderRow, id=work_order)
            data = self._store.blob(row["document"]) if row else None
            if data is None:
                return ""
            self._plants[work_order] = str(_leaf.decode(data).get("plant", ""))
        return self._plants[work_order]


def describe_entry(index: int, leaf: Mapping[str, Any]) -> EventShown:
    """An entry as an event."""
    op, out = leaf.get("op", {}), leaf.get("out", {})
    what: Mapping[str, Any] = op.get("what", {})
    actor: Mapping[str, Any] = leaf.get("actor", {})
    severity, alarm = judge_entry(str(leaf["type"]), what, str(out.get("status", "")), str(out.get("why", "")))
    said = out.get("why") or op.get("summary") or what.get("why") or what.get("reason") or what.get("read") or ""
    return EventShown(
        index=index,
        time=str(leaf["ts"]),
        type=str(leaf["type"]),
        severity=severity,
        v=1,
        log=str(leaf["log"]),
        node=str(leaf["node"]["id"]),
        id=str(leaf["id"]),
        kind=str(op.get("kind", "")),
        status=str(out.get("status", "")),
        asset=read_asset(what),
        change=str(leaf.get("chg", "")),
        ceremony=str(leaf.get("cer", "")),
        request=str(leaf.get("req", "")),
        actor=str(actor.get("sub", "")),
        role=str(actor.get("role", "")),
        keys=tuple(str(key.get("label", "")) for key in leaf.get("keys", ())),
        alarm=alarm,
        state="raised" if alarm else "",
        said=str(said)[:SAID_LIMIT],
    )


def read_asset(what: Mapping[str, Any]) -> AssetShown:
    """What an entry's facts say of a device, a class, a plant."""
    named = {name: str(what.get(name, "")) for name in ("serial", "class", "plant", "work_order")}
    return AssetShown(named["serial"], named["class"], named["plant"], named["work_order"])


def judge_entry(kind: str, what: Mapping[str, Any], status: str, why: str = "") -> tuple[Severity, str]:
    """The severity of an entry, and the alarm that it is, if it is one."""
    if kind.endswith(".unknown"):
        return "critical", "unknown-outcome"
    if kind == "key.state" and status != "denied" and (alarm := _STATES.get(str(what.get("to", "")))):
        return "critical", alarm
    settled = kind == "grant.settle" and (what.get("alarm") or why.startswith("box-forked"))
    if alarm := _ALARMS.get(kind, "site-box" if settled else ""):
        return "critical", alarm
    if status == "denied" and why.partition(":")[0] in _CLONED:
        return "critical", "key-cloned"
    if kind == "hsm.inventory":
        return ("critical", "inventory") if what.get("differences") else ("info", "")
    if kind == "log.start" and what.get("token_anchor") is False:
        return "critical", "token-anchor"
    if kind in ("auth.fail", "suppressed") or status in ("fail", "denied"):
        return "warning", ""
    return ("notice" if kind.startswith(_NOTICED) else "info"), ""


def describe_alarm(name: str, said: str, *, raised: bool, size: int, now_us: int) -> EventShown:
    """An alarm of the moment, raised or cleared when the journal had `size` entries."""
    time = datetime.fromtimestamp(now_us / 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    severity: Severity = "critical" if raised else "notice"
    kind, _, subject = name.partition(" ")
    state = "raised" if raised else "cleared"
    return EventShown(size, time, "alarm", severity, 1, alarm=kind, state=state, kind=subject, said=said[:SAID_LIMIT])


def is_reading(event: EventShown) -> bool:
    """Whether an event tells that somebody read events."""
    return event.type == "export" and event.said.startswith(READING)


def passes(event: EventShown, least: str) -> bool:
    """Whether an event is at least this severe."""
    names: tuple[str, ...] = SEVERITIES
    return names.index(event.severity) >= names.index(least)
