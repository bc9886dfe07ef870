"""Summaries: counted by the keyroom, counted again by anybody."""

import json
from dataclasses import dataclass

import pytest

from pki.log.checkpoints import Checkpoint
from pki.log.leaves import parse_leaf
from pki.log.summaries import SummaryWrong, summarize, verify_summary
from tests.pki.log.building import ORIGIN, P256, Journal
from tests.pki.log.stories import story, tree_of


@dataclass
class Counted:
    journal: Journal
    data: bytes


@pytest.fixture
def counted() -> Counted:
    """The story, and an entry that records its summary."""
    journal = Journal()
    journal.entries = list(story().entries)
    head = Checkpoint(ORIGIN, len(journal.entries), tree_of(journal).root())
    data = summarize(map(parse_leaf, journal.entries), head, "ab" * 32)
    journal.add("export", op={"what": {"summary": journal.blob(data)}})
    return Counted(journal, data)


@pytest.mark.req("AU-10")
def test_a_summary_is_counted_again(counted: Counted) -> None:
    assert verify_summary(counted.data, enumerate(counted.journal.entries)) == 305
    value = json.loads(counted.data)
    assert (value["size"], sum(value["types"].values()), value["keys"][P256.spki]) == (305, 305, 8)
    assert counted.data == json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


@pytest.mark.parametrize("field", ["size", "root", "first", "last", "types", "kinds", "keys", "statuses", "v"])
def test_a_changed_figure_is_named(counted: Counted, field: str) -> None:
    value = json.loads(counted.data)
    item = value[field]
    value[field] = item - 1 if isinstance(item, int) else f"x{item}" if isinstance(item, str) else item | {"more": 1}
    data = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    with pytest.raises(SummaryWrong, match=field if field != "size" else "size|root"):
        verify_summary(data, enumerate(counted.journal.entries))


def test_a_summary_that_no_entry_records_is_refused(counted: Counted) -> None:
    with pytest.raises(SummaryWrong, match="no entry of this export records"):
        verify_summary(counted.data, enumerate(story().entries))
    with pytest.raises(SummaryWrong, match="does not parse"):
        verify_summary(b"{}", enumerate(story().entries))
    with pytest.raises(SummaryWrong, match="its bytes are not canonical"):
        verify_summary(counted.data + b" ", enumerate(counted.journal.entries))
