"""Which roster and policy are in force, read from the journal at start. A row only says where to look."""

from typing import Any

import msgspec

from ceremonies.genesis import POLICY, ROSTER, read_governing
from ceremonies.journal import RESTORE, Journal, JournalForked
from ceremonies.officers import parse_roster
from ceremonies.plans import GenesisPlan, read_shown
from ceremonies.policy import parse_policy
from ceremonies.quorums import Governing
from ceremonies.settings import KeyroomSettings, SettingsInvalid
from ceremonies.store import Store
from ceremonies.tables import EntryRow, GoverningRow
from pki.log.errors import LogError
from pki.log.leaves import parse_leaf
from pki.log.merkle import leaf_hash, verify_inclusion

OPENED = "ceremony.open"


def load_governing(store: Store, journal: Journal, settings: KeyroomSettings) -> Governing | None:
    """Roster and policy in force; those of the plan while genesis is under way; None on an empty journal.

    Raises JournalForked when an entry is not the one in the tree, SettingsInvalid when the roster of genesis is not
    the one of the settings.
    """
    rows = {row["name"]: row["seq"] for row in store.list(GoverningRow, "name")}
    if not rows:
        governing = _load_genesis(store, journal)
    elif rows.keys() != {ROSTER, POLICY}:
        raise JournalForked("roster and policy: the rows are not what the journal says", hint=RESTORE)
    else:
        roster = parse_roster(_document(store, journal, ROSTER, rows[ROSTER]))
        policy = parse_policy(_document(store, journal, POLICY, rows[POLICY]))
        governing = Governing(roster, policy)
    if governing is not None and governing.roster.digest != settings.roster_sha256:
        raise SettingsInvalid(
            f"the journal's roster is {governing.roster.digest[:16]}, the settings say {settings.roster_sha256[:16]}",
            hint="compare the roster's digest with the officers; a forged genesis must not start",
        )
    return governing


def _load_genesis(store: Store, journal: Journal) -> Governing | None:
    """The first ceremony is genesis: its plan as it was opened, not as a row of the ceremony may say by now."""
    opened = store.find(EntryRow, type=OPENED)
    if opened is None:
        return None
    what = _what(store, journal, OPENED, opened["seq"])
    content = read_shown(_blob(store, what["plan"], opened["seq"]))["content"]
    return read_governing(msgspec.convert(content, GenesisPlan), what["ceremony"])


def _document(store: Store, journal: Journal, kind: str, seq: int) -> bytes:
    """The document that an entry of the tree names."""
    return _blob(store, _what(store, journal, kind, seq)["sha256"], seq)


def _what(store: Store, journal: Journal, kind: str, seq: int) -> dict[str, Any]:
    """What an entry of the tree says. Raises JournalForked when it is not there, or of another type."""
    row = store.find(EntryRow, seq=seq)
    leaf: bytes = row["leaf"] if row else b""
    try:
        verify_inclusion(leaf_hash(leaf), seq, journal.size, journal.root, journal.inclusion_proof(seq))
        entry = parse_leaf(leaf)
    except LogError as error:
        raise JournalForked(f"entry {seq} is missing, or is not the one that was written", hint=RESTORE) from error
    if entry.type != kind or not entry.op or not entry.op.what:
        raise JournalForked(f"entry {seq} is no {kind}", hint=RESTORE)
    return entry.op.what


def _blob(store: Store, digest: str, seq: int) -> bytes:
    document = store.blob(digest)
    if document is None:
        raise JournalForked(f"the document of entry {seq} is missing", hint=RESTORE)
    return document
