"""Chain, counters and closing of intents, entry by entry."""

import json
from typing import Any

import pytest

from pki.log.errors import AuditFailed
from pki.log.leaves import parse_leaf
from pki.log.ledger import Ledger
from pki.log.merkle import leaf_hash
from tests.pki.log.building import ED, ORIGIN, P256, Journal, sample_journal


def record(journal: Journal) -> Ledger:
    ledger = Ledger(ORIGIN)
    for entry in journal.entries:
        ledger.record(leaf_hash(entry), parse_leaf(entry))
    return ledger


def refuse(journal: Journal, what: str) -> None:
    """The last entry is the bad one."""
    with pytest.raises(AuditFailed, match=what) as caught:
        record(journal)
    assert caught.value.entry == len(journal.entries) - 1


def test_sample_has_no_fault_and_returns_what_is_closed() -> None:
    assert record(sample_journal()).open_intents == ()
    journal = Journal()
    first, second = journal.intend(b"a", [P256]), journal.intend(b"b", [ED])
    assert [intent.index for intent in record(journal).open_intents] == [first, second]
    ledger = Ledger(ORIGIN)
    journal.conclude(second, b"b", [ED])
    closed = [ledger.record(leaf_hash(entry), parse_leaf(entry)) for entry in journal.entries]
    assert [intent and intent.index for intent in closed] == [None, None, second]


@pytest.mark.req("AU-2")
@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"seq": 2}, "entry 1: its seq is 2"),
        ({"seq": 0}, "entry 1: its seq is 0"),
        ({"prev": "ab" * 32}, "entry 1: its prev is not the leaf hash of the entry before"),
        ({"log": "other.example"}, "entry 1: it belongs to the journal other.example"),
    ],
)
def test_chain(change: dict[str, Any], what: str) -> None:
    journal = Journal()
    journal.add("log.start")
    journal.add("probe", **change)
    refuse(journal, what)


def test_first_entry_starts_the_chain() -> None:
    journal = Journal()
    journal.add("log.start", prev="ab" * 32)
    refuse(journal, "entry 0: its prev")


@pytest.mark.req("AU-2")
@pytest.mark.parametrize(("skip", "found"), [(1, 4), (-1, 2), (-2, 1)])
def test_uses_of_a_key_have_no_gap(skip: int, found: int) -> None:
    journal = Journal()
    for number in range(2):
        journal.sign(b"%d" % number, [P256, ED])
    journal.uses[P256.spki] += skip
    journal.intend(b"next", [P256])
    refuse(journal, f"entry 4: its kctr for key {P256.spki[:16]} is {found}, 3 is expected")


def test_first_use_is_one() -> None:
    journal = Journal()
    journal.uses[ED.spki] = 1
    journal.intend(b"first", [ED])
    refuse(journal, "is 2, 1 is expected")


@pytest.mark.req("AU-1", "T27")
def test_intent_is_closed_once() -> None:
    journal = Journal()
    intent = journal.intend(b"a", [P256])
    journal.conclude(intent, b"a", [P256])
    journal.unknown(intent)
    refuse(journal, "entry 2: it closes entry 0, which is closed already")


@pytest.mark.parametrize(("index", "what"), [(1, "entry 1, which is no intent"), (9, "entry 9, which is no intent")])
def test_only_an_earlier_intent_is_closed(index: int, what: str) -> None:
    journal = Journal()
    journal.intend(b"a", [P256])
    journal.add("probe")
    journal.add("key.sign.unknown", ref={"h": "00" * 32, "i": index}, out={"status": "unknown"})
    refuse(journal, what)


def test_closing_entry_names_the_hash_of_its_intent() -> None:
    journal = Journal()
    journal.intend(b"a", [P256])
    journal.add("key.sign.unknown", ref={"h": "00" * 32, "i": 0}, out={"status": "unknown"})
    refuse(journal, "entry 1: its ref.h is not the leaf hash of entry 0")


def test_closing_entry_is_of_the_same_operation() -> None:
    journal = Journal()
    intent = journal.intend(b"a", [P256])
    journal.add("key.destroy.unknown", ref=journal.ref(intent), out={"status": "unknown"})
    refuse(journal, r"entry 1: a key.destroy.unknown closes entry 0, a key.sign.intent")


@pytest.mark.req("AU-2", "AU-8")
def test_counted_approvals_are_approvals() -> None:
    journal = Journal()
    probe, approval = journal.add("probe"), journal.add("approval")
    good = {**journal.ref(approval), "officer": "o-1"}
    journal.intend(b"a", [P256], apr=[good])
    record(journal)
    bad = [{**journal.ref(probe), "officer": "o"}, {**good, "h": "00" * 32}, {**good, "i": 7}]
    for item in bad:
        worse = Journal()
        worse.entries = list(journal.entries)
        worse.add("probe", apr=[good, item])
        refuse(worse, f"entry 3: it counts entry {item['i']}")
    journal.add("probe", apr=[good, good])
    refuse(journal, "counts an approval twice")


def test_destruction_may_count_as_a_use() -> None:
    journal = Journal()
    journal.sign(b"a", [P256])
    journal.add("key.destroy.intent", actor={}, keys=[journal.use(P256)], op={"kind": "key"})
    record(journal)
    assert json.loads(journal.entries[-1])["keys"][0]["kctr"] == 2


@pytest.mark.req("AU-2", "T26")
def test_a_recovery_skips_uses_and_never_goes_back() -> None:
    def recovered(**key: Any) -> Journal:
        journal = Journal()
        journal.conclude(journal.intend(b"a", [P256]), b"a", [P256])
        journal.add("log.recover", keys=[{"spki": P256.spki, **key}])
        return journal

    journal = recovered(kctr=7)
    assert record(journal).uses == {P256.spki: 7}
    journal.uses[P256.spki] = 7
    journal.intend(b"b", [P256])
    assert record(journal).uses == {P256.spki: 8}
    gap = recovered(kctr=7)
    gap.uses[P256.spki] = 6
    gap.intend(b"b", [P256])
    refuse(gap, "its kctr .* is 7, 8 is expected")
    twice = Journal()
    for data in (b"a", b"b"):
        twice.conclude(twice.intend(data, [P256]), data, [P256])
    twice.add("log.recover", keys=[{"spki": P256.spki, "kctr": 1}])
    refuse(twice, "sets the uses of a key back")
    refuse(recovered(), "without kctr")
    known = Ledger(ORIGIN, 0, len(journal.entries))
    for entry in journal.entries:
        known.record(leaf_hash(entry), parse_leaf(entry))
    assert known.uses == {P256.spki: 8}
