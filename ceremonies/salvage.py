"""The newest entries are lost for good: officers let the journal go on from what the database holds (`log.recover`).

At every start the journal must extend its anchors, or hold a `log.recover` that names the one it does not extend: that
entry counts only when its approvals, verified anew, make up the quorum. It is written by a start with a directory of
statements that officers signed (`kedge recover`), and with it what the lost entries may have used is spent: every key
but the journal's is suspended, uses of keys go on behind the gap, approvals given so far are void, work orders are
closed.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog

from ceremonies import entries
from ceremonies.anchors import TokenAnchor
from ceremonies.approvals import (
    Approval,
    ApprovalTemplate,
    count_quorum,
    parse_template,
    verify_approval,
)
from ceremonies.door import Door
from ceremonies.errors import KeyroomError, QuorumNotMet
from ceremonies.feeds import read_cursor
from ceremonies.journal import EntryDraft, JournalForked
from ceremonies.keyring import KeyEntry
from ceremonies.ledger import Ledger
from ceremonies.logkey import CheckpointRejected
from ceremonies.losses import (
    ACTION,
    FILE,
    Proposal,
    RecoveryRefused,
    list_facts,
    list_suspended,
    make_template,
    read_facts,
    sha256_hex,
)
from ceremonies.milestones import milestone_path
from ceremonies.orders import Actor
from ceremonies.procedures import PLAN, VALID_FOR
from ceremonies.public import anchor_path, check_published, published_path, write_file
from ceremonies.quorums import Governing, shown_draft
from ceremonies.reckoning import check_counts, check_rows
from ceremonies.settings import KeyroomSettings
from ceremonies.store import Change, Update
from ceremonies.tables import CeremonyRow, KeyRow
from pki.jcs import jcs
from pki.log.checkpoints import Checkpoint
from pki.log.leaves import RECOVER

log = structlog.get_logger()

SALVAGE: Final = Actor(cred="", role="keyroom", src="", sub="recovery")
KEYS_PER_ENTRY: Final = 64


Signed = tuple[str, bytes, bytes]
"""An officer's id, the statement, its armored signature."""


def check_anchors(settings: KeyroomSettings, door: Door, anchor: TokenAnchor) -> None:
    """At start, before anything is recorded: the journal extends its anchors, or officers gave them up.

    With a directory of statements in the settings, a journal that does not is recovered first; one that does is left
    alone, so that a start after a crash may have the same settings. Raises JournalForked, CheckpointRejected,
    RecoveryRefused, QuorumNotMet.
    """
    ledger, excused = door.ledger, list_given_up(door)
    try:
        check_published(settings, ledger, anchor.read(excused), excused)
    except (JournalForked, CheckpointRejected) as error:
        if settings.recovery is None:
            raise
        log.critical("the journal is recovered by officers", why=str(error))
        recover_journal(settings, door, settings.recovery, anchor.notes())
        excused = list_given_up(door)
        check_published(settings, ledger, anchor.read(excused), excused)


def recover_journal(settings: KeyroomSettings, door: Door, directory: Path, kept: Sequence[bytes]) -> None:
    """Verify the officers' statements against what is here, and write `log.recover`. kept: the token's anchor.

    1. The rows are those of the entries. 2. The statement is about this database and these anchors, byte for byte.
    3. The approvals make up the quorum. Raises JournalForked (1), RecoveryRefused (2), QuorumNotMet (3).
    """
    ledger, governing = door.ledger, door.require_governing()
    check_rows(ledger.store, ledger.replay, door.keyring)  # 1
    check_counts(ledger.store, ledger.replay)
    proposal, signed = read_directory(directory)
    template = parse_template(proposal.template)
    shown = jcs(list_facts(settings, ledger, str(read_facts(proposal.shown).get("reason")), kept))
    parts = (ledger, governing, door.surroundings.software)
    wanted = make_template(parts, shown, template.nonce, template.not_after)
    if (shown, wanted.document) != (proposal.shown, proposal.template):  # 2
        raise RecoveryRefused(
            f"{FILE} is about another database, other anchors, another policy or other software",
            hint="compare them, then: kedge recover, and have it approved anew",
        )
    if template.not_after > door.now() + VALID_FOR + timedelta(minutes=5):
        raise RecoveryRefused(f"{FILE} is valid for longer than seven days", hint="make a new one: kedge recover")
    counted = demand_quorum(governing, template, signed, door.now())  # 3
    for feed in settings.feeds:
        path = settings.data / "feeds" / feed.name
        if read_cursor(path) > ledger.journal.size:
            write_file(path, b"%d\n" % ledger.journal.size)
    # A crash before the commit below: the next start is told to recover again. A milestone is of the lost journal.
    milestone_path(settings.data).unlink(missing_ok=True)
    notes = [*kept, *(path.read_bytes() for path in (anchor_path(settings), published_path(settings)) if path.exists())]
    write_recovery(door, (proposal, [item for item in signed if item[0] in counted]), notes)


def read_directory(directory: Path) -> tuple[Proposal, list[Signed]]:
    """The proposal and the statements beside it, as `kedge officer` names them. Raises RecoveryRefused."""
    try:
        proposal = msgspec.json.decode((directory / FILE).read_bytes(), type=Proposal)
        files = [(path.with_suffix(""), path) for path in sorted(directory.glob(f"{proposal.ceremony}-{PLAN}-*.sig"))]
        begin = len(f"{proposal.ceremony}-{PLAN}-")
        return proposal, [(said.stem[begin:], said.read_bytes(), path.read_bytes()) for said, path in files]
    except (OSError, msgspec.MsgspecError) as error:
        raise RecoveryRefused(
            f"{directory}: {error}", hint=f"it holds {FILE}, and statements with their .sig"
        ) from error


def demand_quorum(
    governing: Governing, template: ApprovalTemplate, signed: Sequence[Signed], now: datetime
) -> tuple[str, ...]:
    """The officers whose approvals make up the quorum; what does not verify is none. Raises QuorumNotMet."""
    approvals: list[Approval] = []
    for officer, statement, armoured in signed:
        try:
            approvals.append(verify_approval(template, statement, armoured.decode(), governing.roster))
        except (KeyroomError, UnicodeDecodeError) as error:
            log.warning("a statement is no approval", officer=officer, why=str(error))
    result = count_quorum(governing.policy.rule_for(RECOVER, governing.roster), approvals, "", now)
    if not result.met:
        raise QuorumNotMet(f"recovery of the journal: {result.shortfall}", hint="have the missing officers approve it")
    return result.have


def write_recovery(door: Door, approved: tuple[Proposal, Sequence[Signed]], notes: Sequence[bytes]) -> None:
    """One transaction: `log.recover` is the first entry after what is left, then each key's suspension, then the rows.

    A crash after it: the entry names the anchors, so the next start goes on without a recovery.
    """
    (proposal, signed), ledger = approved, door.ledger
    facts = read_facts(proposal.shown)
    said = [
        {"officer": officer, "signature": sha256_hex(armoured), "statement": sha256_hex(statement)}
        for officer, statement, armoured in signed
    ]
    named = {name: facts[name] for name in ("anchors", "database", "lost", "published", "reason")}
    what = {**named, "approvals": said, "shown": sha256_hex(proposal.shown), "template": sha256_hex(proposal.template)}
    skipped = facts["lost"]["to"] - facts["lost"]["from"]
    keys = [msgspec.structs.replace(key, uses=key.uses + skipped) for key in list_suspended(ledger)]
    drafts = [*word_recovery(what, keys), *(entries.key_state(key, "suspended", SALVAGE, RECOVER, {}) for key in keys)]
    changes: list[Change] = [
        Update(KeyRow, {"spki": key.spki}, {"state": "suspended", "uses": key.uses}) for key in keys
    ]
    void = {ceremony for ceremony, _ in ledger.replay.approvals} - ledger.replay.closed
    changes += [Update(CeremonyRow, {"id": name}, {"state": "aborted"}) for name in sorted(void)]
    kept = {item["note"] for item in facts["anchors"]}
    blobs = [note for note in notes if sha256_hex(note) in kept] + [proposal.shown, proposal.template]
    blobs += [part for _, *parts in signed for part in parts]
    # Intents that the database has open stay so: recovery, which comes next, closes them.
    ledger.commit(lambda _: drafts, lambda _: (changes, blobs), settles=False)
    for key in keys:
        door.keyring.put(msgspec.structs.replace(key, state="suspended"))


def word_recovery(what: Mapping[str, Any], keys: Sequence[KeyEntry]) -> Iterator[EntryDraft]:
    """`log.recover`, and more of them where one cannot name all keys: from where the uses of each go on."""
    counted = [{**key.fields, "kctr": key.uses} for key in keys if key.uses]
    for at in range(0, len(counted) or 1, KEYS_PER_ENTRY):
        draft = entries.event(RECOVER, SALVAGE, what if at == 0 else {"more_keys": at})
        listed = counted[at : at + KEYS_PER_ENTRY]
        yield {**draft, "keys": listed} if listed else draft


def list_given_up(door: Door) -> frozenset[bytes]:
    """The texts of the checkpoints that officers gave up, by every `log.recover` of this journal, verified anew."""
    return frozenset(text for seq in door.ledger.replay.recovered for text in read_recovery(door, seq))


def read_recovery(door: Door, seq: int) -> list[bytes]:
    """The texts of the checkpoints that the `log.recover` at this index gives up. Raises JournalForked.

    1. The entry names what officers signed, and stands at the size that they saw, under the root that they saw.
    2. Their approvals, as of the entry's time, make up the quorum.
    """
    ledger, governing = door.ledger, door.require_governing()
    leaf = ledger.read_entry(seq)[1]
    what: dict[str, Any] = (leaf.op.what or {}) if leaf.op else {}
    try:
        shown, template = _blob(ledger, what["shown"]), parse_template(_blob(ledger, what["template"]))
        signed = [
            (i["officer"], _blob(ledger, i["statement"]), _blob(ledger, i["signature"])) for i in what["approvals"]
        ]
        facts = read_facts(shown)
        seen = (template.draft, template.log_checkpoint.size, template.action, template.params["roster_sha256"])
        if seen != (shown_draft(f"ceremony.{PLAN}", shown).digest, seq, ACTION, governing.roster.digest):  # 1
            raise RecoveryRefused("the statement is about something else")
        ledger.journal.check_extends(seq, bytes.fromhex(template.log_checkpoint.root))
        demand_quorum(governing, template, signed, datetime.fromisoformat(leaf.ts))  # 2
        anchors = [(item["size"], bytes.fromhex(item["root"])) for item in facts["anchors"]]
        return [Checkpoint(ledger.journal.origin, size, root).encode() for size, root in anchors]
    except (KeyroomError, LookupError, TypeError, ValueError) as error:
        raise JournalForked(
            f"entry {seq} recovers the journal, and no quorum of officers approved that: {error}",
            hint="somebody wrote to the database: stop, investigate, restore",
        ) from error


def _blob(ledger: Ledger, digest: str) -> bytes:
    data = ledger.store.blob(digest)
    if data is None or sha256_hex(data) != digest:
        raise RecoveryRefused(f"blob {digest[:16]} is missing", hint="restore the database")
    return data
