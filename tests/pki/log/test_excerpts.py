"""Excerpts: the entries of one party, no more and no less."""

import pytest

from pki.log.errors import AuditFailed
from pki.log.exports import verify_export
from pki.log.files import Files as View
from pki.log.parties import Party
from pki.log.policy import parse_policy
from pki.log.reports import Report
from tests.pki.log.building import P256, POLICY, Files, Journal
from tests.pki.log.stories import DEVICE, KEY, ORDER, PARTIES, assemble_excerpt, blobs_named, device, prove, story

TRUST = parse_policy(POLICY)


def verify(files: Files) -> Report:
    return verify_export(View(files.__getitem__, frozenset(files), TRUST))


def refuse(files: Files, what: str) -> None:
    with pytest.raises(AuditFailed, match=what):
        verify(files)


@pytest.mark.req("AU-10")
@pytest.mark.parametrize("party", PARTIES, ids=str)
def test_excerpts_are_authentic(party: Party) -> None:
    report = verify(assemble_excerpt(story(), party))
    assert (report.verdict, report.scope) == ("authenticated", str(party))


@pytest.mark.req("AU-10", "T36")
def test_an_entry_of_somebody_else_is_refused() -> None:
    files = assemble_excerpt(story(), DEVICE)
    more = files | prove(story(), {17, 18}, files["checkpoint"]) | blobs_named(story(), {17, 18})
    refuse(more, "^entry 17: it does not belong to the device BMS-1")


@pytest.mark.req("HS-3", "AU-2")
def test_a_use_of_a_key_that_is_left_out_is_noticed() -> None:
    """The entry left out is authentic, and so are all others: only the count tells."""
    files = assemble_excerpt(story(), KEY)
    indexes = {17, 18}
    for index in indexes:
        files = {path: data for path, data in files.items() if not path.startswith(f"proven/{index}.")}
    files = {path: data for path, data in files.items() if path not in blobs_named(story(), indexes)}
    refuse(files | blobs_named(story(), {15}), r"^entry 200: its kctr for key \w+ is 3, 2 is expected")


@pytest.mark.req("AU-10")
def test_what_an_entry_refers_to_must_be_there() -> None:
    files = assemble_excerpt(story(), ORDER)
    for index, what in [
        (8, "^entry 10: it counts entry 8, which is no approval"),
        (15, "^entry 16: it closes entry 15"),
    ]:
        refuse({path: data for path, data in files.items() if not path.startswith(f"proven/{index}.")}, what)


def test_an_excerpt_without_entries_and_open_intents_are_refused() -> None:
    files = {path: data for path, data in assemble_excerpt(story(), DEVICE).items() if "/" not in path}
    refuse(files, "there is no entry of the device BMS-1")
    journal = Journal()
    journal.intend(b"x", [P256], what=device(1, "wo-1"))
    refuse(assemble_excerpt(journal, DEVICE), r"^entry 0: nothing closes this intent \(1 are open\)")
