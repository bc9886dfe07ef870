"""Alarms: what stands between the keyroom and its keys, and what is late, by name, with one sentence each. Each has a
runbook page.

Alarms of the moment come from here (`list_alarms`), and are told when they are raised and when they are cleared; while
one of them keeps keys from being used, the keyroom is not ready (`list_obstacles`). Alarms of an entry
(`ceremonies.events`) are told once, with it.
"""

from typing import Final

from ceremonies.room import Room

ALARMS: Final = {
    "governance": "no roster and no policy are in force, or genesis is under way",
    "inventory": "tokens differ from the journal, or could not be compared with it",
    "log-key": "no journal key is active",
    "operation": "an operation is open: the database did not take its outcome",
    "token": "a token does not work",
    "token-anchor": "the journal's anchor in its token was lost, altered, or cannot be written",
    "witnesses": "no quorum of witnesses covers the journal",
    "writer": "the thread that writes has ended",
    "crl": "a revocation list is not signed, and near its end or behind a revocation",
    "closing": "certificates that the closing of a work order left are not revoked",
    "unknown-outcome": "recovery closed an operation whose outcome is not known",
    "key-suspended": "a key was suspended",
    "key-compromised": "a key was declared compromised",
    "station-suspended": "a station was suspended, by an officer or because of what it asked for",
    "key-cloned": "a device key came for a second serial",
    "site-box": "a site box did what its grant does not cover, or its journal contradicts itself",
    "log-recovered": "the journal was recovered by officers",
}
"""Every alarm that there is. The name of one of the moment may have a subject behind a blank: `token kedge-root`."""
LATE: Final = frozenset({"crl", "closing"})
"""Alarms of the moment that say that work is late; keys are used meanwhile."""


def list_obstacles(room: Room) -> tuple[str, ...]:
    """The sentences of what keeps keys from being used now."""
    return tuple(text for name, text in list_alarms(room).items() if kind_of(name) not in LATE)


def list_alarms(room: Room) -> dict[str, str]:
    """What stands now, by name."""
    found: dict[str, str] = {}
    governing = room.door.governing
    if governing is None:
        found["governance"] = "no roster and no policy are in force: hold the genesis ceremony"
    elif governing.genesis is not None:
        found["governance"] = "genesis is under way"
    elif room.ledger.log_key is None:
        found["log-key"] = "no journal key is active: nothing can be proven, nothing is sealed"
    if room.writer.died:
        found["writer"] = "the writer's thread has ended: restart the keyroom"
    if behind := room.witnesses.problems():
        found["witnesses"] = "; ".join(behind)
    if not room.ledger.settled:
        found["operation"] = "an operation is open: the database did not take its outcome"
    return found | room.alarms


def kind_of(name: str) -> str:
    """The alarm without its subject: the name of its runbook page."""
    return name.partition(" ")[0]
