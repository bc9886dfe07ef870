"""What a verification says."""

import pytest

from pki.log.exports import verify_export
from pki.log.files import Files
from tests.pki.log.stories import DEVICE, KEY, SINCE, assemble_excerpt, assemble_increment, note_of, story


@pytest.mark.req("AU-10")
def test_each_report_says_what_is_not_shown() -> None:
    journal = story()
    exports = [
        (journal.files(), None, "every entry of the journal up to the checkpoint"),
        (assemble_increment(journal, SINCE), note_of(journal, SINCE), f"every entry after the first {SINCE}"),
        (assemble_excerpt(journal, DEVICE), None, "that there is no other one about the device BMS-1 is not shown"),
        (assemble_excerpt(journal, KEY), None, "uses 1 to 8 of this key without a gap; that there is none after"),
    ]
    for files, since, what in exports:
        report = verify_export(Files(files.__getitem__, frozenset(files), None), since)
        assert what in report.completeness
        assert report.entries == sum(report.types.values())
