"""What is lost when the database is older than its anchors, as officers approve it: `kedge recover` writes it.

Everything is computed from the database, which must hang together, and from the anchors beside it; the keyroom computes
it again before it believes an approval (`ceremonies.salvage`).
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from ceremonies.anchors import OpenMemos, read_closed
from ceremonies.approvals import ApprovalTemplate, LogCheckpoint
from ceremonies.errors import KeyroomError
from ceremonies.governance import load_governing
from ceremonies.journal import Journal, JournalForked
from ceremonies.keyring import KeyEntry
from ceremonies.keywork import log_vkey
from ceremonies.ledger import Ledger
from ceremonies.logkey import CheckpointRejected, read_checkpoint
from ceremonies.plans import PlanMalformed, read_shown
from ceremonies.procedures import PLAN, VALID_FOR
from ceremonies.public import anchor_path, published_path
from ceremonies.quorums import Governing, shown_draft
from ceremonies.settings import KeyroomSettings
from ceremonies.standby import open_store
from ceremonies.surroundings import Surroundings
from pki.jcs import jcs
from pki.log.checkpoints import parse_checkpoint
from pki.log.leaves import RECOVER
from pki.log.notes import parse_note

ACTION: Final = "log-recover"
FILE: Final = "recovery.json"
MAX_REASON: Final = 256
MAX_LISTED: Final = 64


class RecoveryRefused(KeyroomError):
    """There is nothing to recover, or the statement is not about this database and these anchors."""

    code = "recovery-refused"


class Proposal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A step as `kedge officer` reads it."""

    ceremony: str
    action: str
    step: str
    template: bytes
    shown: bytes
    roster: bytes


def propose_recovery(
    settings: KeyroomSettings, around: Surroundings, reason: str, strongbox: Callable[[], OpenMemos]
) -> Proposal:
    """What officers approve, from the database and the anchors as they are. No keyroom may run on them.

    strongbox: opens the tokens, one of which holds an anchor (`ceremonies.anchors`).

    Raises RecoveryRefused, and what opening the store raises.
    """
    store = open_store(settings)
    try:
        ledger = Ledger(store, Journal(store, around, origin=settings.origin, node=settings.node))
        governing = load_governing(store, ledger.journal, settings)
        if governing is None or not ledger.governed:
            raise RecoveryRefused(
                "genesis is not over: nothing is lost that counts", hint="start with an empty database"
            )
        shown = jcs(list_facts(settings, ledger, reason, read_closed(settings, strongbox)))
        until = datetime.fromtimestamp(around.now_us() / 1_000_000, tz=UTC) + VALID_FOR
        template = make_template((ledger, governing, around.software), shown, around.entropy(16).hex(), until)
        return Proposal(template.ceremony, ACTION, PLAN, template.document, shown, governing.roster.document)
    finally:
        store.close()


def read_facts(shown: bytes) -> dict[str, Any]:
    """What a statement is about. Raises RecoveryRefused."""
    try:
        return read_shown(shown)
    except PlanMalformed as error:
        raise RecoveryRefused(f"{FILE}: {error}") from error


def list_facts(settings: KeyroomSettings, ledger: Ledger, reason: str, kept: Sequence[bytes]) -> dict[str, Any]:
    """What the database has, which anchors it contradicts, what is lost, what follows. Raises RecoveryRefused.

    kept: the checkpoints in the journal's token.
    """
    if not reason.isascii() or not reason.isprintable() or not 0 < len(reason) <= MAX_REASON:
        raise RecoveryRefused("the reason does not fit", hint=f"1 to {MAX_REASON} printable ASCII characters")
    journal, anchors = ledger.journal, list(find_contradictions(settings, ledger, kept))
    if not anchors:
        raise RecoveryRefused("the journal extends its anchors", hint="just start the keyroom")
    return {
        "action": ACTION,
        "anchors": anchors,
        "database": {"root": journal.root.hex(), "size": journal.size},
        "lost": {"from": journal.size, "to": max([journal.size, *(item["size"] for item in anchors)])},
        "origin": journal.origin,
        "published": list(find_unknown(settings, ledger)),
        "reason": reason,
        "suspends": [key.label for key in list_suspended(ledger)],
        "type": "kedge/recovery/v1",
        "v": 1,
    }


def find_contradictions(settings: KeyroomSettings, ledger: Ledger, kept: Sequence[bytes]) -> Iterator[dict[str, Any]]:
    """The anchors that the journal does not extend, or that no key signed that it names. Raises LogError."""
    journals = [key for key in ledger.replay.keys.values() if key.role == "journal" and key.state != "pre-activation"]
    vkeys = [log_vkey(ledger, key) for key in journals]
    paths = (("anchor", anchor_path(settings)), ("published", published_path(settings)))
    files = [(name, path.read_bytes()) for name, path in paths if path.exists()]
    for name, note in [*files, *(("token", note) for note in kept)]:
        checkpoint, signed = parse_checkpoint(parse_note(note).text), True
        try:
            read_checkpoint(note, vkeys)
            ledger.journal.check_extends(checkpoint.size, checkpoint.root)
            continue
        except JournalForked:
            pass
        except CheckpointRejected:
            signed = False
        fact = {"root": checkpoint.root.hex(), "signed": signed, "size": checkpoint.size}
        yield {"name": name, "note": sha256_hex(note), **fact}


def find_unknown(settings: KeyroomSettings, ledger: Ledger) -> Iterator[dict[str, str]]:
    """Published documents that the database does not hold: they were released by lost entries."""
    folders = [settings.public / folder for folder in ("trust", "ca", "crl")]
    paths = [path for folder in folders for path in sorted(folder.rglob("[!.]*")) if path.is_file()]
    found = ((path, sha256_hex(path.read_bytes())) for path in paths)
    unknown = [(path, digest) for path, digest in found if ledger.store.blob(digest) is None]
    for path, digest in unknown[:MAX_LISTED]:
        yield {"path": str(path.relative_to(settings.public)), "sha256": digest}


def list_suspended(ledger: Ledger) -> list[KeyEntry]:
    """The keys that sign nothing until officers resume them: all that could, but the journal's."""
    keys = ledger.replay.keys.values()
    return sorted((key for key in keys if key.state == "active" and key.role != "journal"), key=lambda key: key.label)


def make_template(of: tuple[Ledger, Governing, str], shown: bytes, nonce: str, not_after: datetime) -> ApprovalTemplate:
    """The approval statement without officer and decision: of = (ledger, roster and policy, software)."""
    ledger, governing, software = of
    size, rule = ledger.journal.size, governing.policy.rule_for(RECOVER, governing.roster)
    return ApprovalTemplate(
        action=ACTION, ceremony=f"recover-{size}-{nonce[:8]}", step=PLAN,
        draft=shown_draft(f"ceremony.{PLAN}", shown).digest, signers=(),
        summary=f"go on with the journal from its {size} entries, and give up those after them",
        params={"kinds": [RECOVER], "proposer": "", "roster_sha256": governing.roster.digest},
        policy_sha256=governing.policy.digest, software_sha256=software,
        log_checkpoint=LogCheckpoint(size, ledger.journal.root.hex()),
        m=rule.m, n=rule.n, not_after=not_after, nonce=nonce,
    )  # fmt: skip


def sha256_hex(data: bytes) -> str:
    """Lowercase hex SHA-256."""
    return hashlib.sha256(data).hexdigest()
