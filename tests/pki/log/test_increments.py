"""Increments: what came after a checkpoint, verified alone."""

import pytest

from pki.log.errors import AuditFailed
from pki.log.exports import verify_export
from pki.log.files import Files as View
from pki.log.policy import parse_policy
from pki.log.reports import Report
from tests.pki.log.building import P256, POLICY, Files, Journal, assemble_export
from tests.pki.log.stories import (
    SINCE,
    assemble_increment,
    blobs_named,
    carried_entries,
    device,
    note_of,
    prove,
    story,
)

TRUST = parse_policy(POLICY)
SIZE = len(story().entries)


def verify(files: Files, since: bytes) -> Report:
    return verify_export(View(files.__getitem__, frozenset(files), TRUST), since)


@pytest.mark.req("AU-2", "AU-10")
@pytest.mark.parametrize("old", [0, 1, 20, 255, 256, 257, 271, SINCE, SIZE - 1, SIZE])
def test_an_increment_from_any_size_is_authentic(old: int) -> None:
    report = verify(assemble_increment(story(), old), note_of(story(), old))
    assert (report.verdict, report.since, report.entries) == ("authenticated", old, SIZE - old)


@pytest.mark.req("AU-2", "T26")
def test_an_increment_of_a_fork_is_refused() -> None:
    fork = Journal()
    fork.add("log.start")
    fork.add("probe", op={"what": {"n": 0}})
    with pytest.raises(AuditFailed, match=r"^consistency: the tree of 305 is not shown to extend the tree of 2"):
        verify(assemble_increment(story(), 2), note_of(fork, 2))


@pytest.mark.req("AU-2", "T26")
def test_carried_entries_are_those_that_are_needed() -> None:
    files, note = assemble_increment(story(), SINCE), note_of(story(), SINCE)
    assert carried_entries(story(), SINCE) == {20, 200, 201, 202}  # P-384's last use, two intents, an approval
    for index in (20, 200, 201, 202):
        lacking = {path: data for path, data in files.items() if not path.startswith(f"proven/{index}.")}
        with pytest.raises(AuditFailed, match=r"^entry 29\d: its kctr|closes entry 20\d, which|counts entry 202"):
            verify(lacking, note)
    more = files | prove(story(), {5}, files["checkpoint"])
    with pytest.raises(AuditFailed, match=r"^entry 5: nothing refers to it"):
        verify(more, note)
    twice = files | prove(story(), {260}, files["checkpoint"])
    with pytest.raises(AuditFailed, match=r"^entry 260: it is carried, and stands among the entries as well"):
        verify(twice, note)


@pytest.mark.req("HS-3", "T27")
def test_a_gap_in_the_uses_of_a_key_between_two_exports_is_noticed() -> None:
    """The log's own thief: tree and signatures fit, the count of the key does not go on where it was."""
    journal = Journal()
    for number in range(260):
        journal.add("probe", op={"what": {"n": number}}) if number else journal.sign(b"one", [P256])
    old = len(journal.entries)
    journal.uses[P256.spki] += 1
    journal.sign(b"three", [P256])
    with pytest.raises(AuditFailed, match=rf"^entry {old}: its kctr for key {P256.spki[:16]} is 3, 2 is expected"):
        verify(assemble_increment(journal, old), note_of(journal, old))


@pytest.mark.req("AU-1")
def test_a_carried_intent_is_closed_once_and_open_ones_are_told() -> None:
    journal = Journal()
    intent = journal.intend(b"one", [P256], what=device(1, "wo-1"))
    for number in range(256):
        journal.add("probe", op={"what": {"n": number}})
    old = len(journal.entries)
    journal.conclude(intent, b"one", [P256])
    journal.conclude(intent, b"one", [P256])
    with pytest.raises(AuditFailed, match=rf"^entry {old + 1}: it closes entry 0, which is closed already"):
        verify(assemble_increment(journal, old), note_of(journal, old))


def test_blobs_of_known_entries_are_no_part_of_an_increment() -> None:
    files = assemble_increment(story(), SINCE) | blobs_named(story(), {15})
    with pytest.raises(AuditFailed, match="no entry names this blob"):
        verify(files, note_of(story(), SINCE))
    assert assemble_export(story().entries, story().blobs).keys() > files.keys() - {"consistency"} - {
        path for path in files if path.startswith("proven/")
    }
