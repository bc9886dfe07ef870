"""Of whom an entry speaks."""

import json

import pytest

from pki.log.errors import AuditFailed
from pki.log.parties import PARTY, Party, choose_entries, encode_party, parse_party
from tests.pki.log.building import ED, ORIGIN
from tests.pki.log.stories import CHANGE, DEVICE, KEY, ORDER, PARTIES, SITE, leaves_of, story


def chosen(party: Party) -> list[int]:
    return sorted(choose_entries(party, lambda: leaves_of(story()), story().blobs.get))


def types(party: Party) -> set[str]:
    found = set(chosen(party))
    return {leaf.type for index, leaf in leaves_of(story()) if index in found}


@pytest.mark.req("AU-10", "T36")
def test_entries_of_each_party() -> None:
    assert len(chosen(DEVICE)) == 2
    assert chosen(SITE) == chosen(ORDER)  # one order, one plant
    assert {"quota.open", "approval", "ceremony.open", "key.sign.unknown"} < types(ORDER)
    assert len(chosen(Party("work-order", "wo-2"))) == 6
    assert "key.generate.intent" in types(KEY)  # it names no spki, its outcome refers to it
    assert "key.sign.outcome" in types(CHANGE)
    for kind in ("device", "work-order", "site", "change", "key"):
        assert chosen(Party(kind, "nobody")) == []


@pytest.mark.req("AU-10", "T36")
def test_a_refusal_for_a_strangers_serial_is_not_the_orders() -> None:
    (refusal,) = (index for index, leaf in leaves_of(story()) if leaf.type == "key.sign.denied")
    assert refusal not in chosen(ORDER)
    assert refusal in chosen(Party("device", "BMS-2"))


@pytest.mark.req("AU-10", "T36")
def test_nothing_names_another_device_order_or_site() -> None:
    for party, foreign in [(DEVICE, "BMS-2"), (ORDER, "BMS-2"), (ORDER, "wo-2"), (SITE, "BMS-2"), (CHANGE, "BMS-1")]:
        assert all(foreign.encode() not in story().entries[index] for index in chosen(party))


def test_the_party_file_is_canonical_and_of_this_journal() -> None:
    for party in (*PARTIES, Party("key", ED.spki)):
        data = encode_party(party, ORIGIN, 305)
        assert data == json.dumps(json.loads(data), sort_keys=True, separators=(",", ":")).encode()
        assert parse_party(data, ORIGIN, 305) == party
        for bad in (data + b" ", b"{}", b"\xff", data.replace(b'"v":1', b'"v":2')):
            with pytest.raises(AuditFailed, match=rf"^{PARTY}: "):
                parse_party(bad, ORIGIN, 305)
        with pytest.raises(AuditFailed, match="of another journal or size"):
            parse_party(data, ORIGIN, 304)
