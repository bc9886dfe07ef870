"""The leaf: canonical bytes as the rfc8785 package makes them, and strict reading."""

import json
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from pki.log.errors import LeafInvalid
from pki.log.leaves import MAX_DEPTH, MAX_LEAF, encode_leaf, parse_leaf
from tests.pki.log.building import P256, Journal, sample_journal

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES = st.recursive(
    TEXT | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(st.characters(codec="ascii")), children, max_size=4)
    ),
    max_leaves=8,
)
WHAT = st.dictionaries(st.text(st.characters(codec="ascii")), VALUES, max_size=5)


def make_leaf(**fields: Any) -> dict[str, Any]:
    return Journal().leaf("probe", **fields)


def make_intent(**fields: Any) -> dict[str, Any]:
    journal = Journal()
    journal.intend(b"data", [P256])
    leaf: dict[str, Any] = json.loads(journal.entries[0])
    return leaf | fields


def make_outcome(kind: str = "key.sign.outcome", **fields: Any) -> dict[str, Any]:
    return make_leaf() | {"type": kind, "ref": {"h": "00" * 32, "i": 0}, "out": {"status": "ok"}} | fields


def canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


@pytest.mark.req("AU-3")
@given(WHAT, TEXT.filter(bool))
def test_bytes_are_those_of_rfc8785(what: dict[str, Any], summary: str) -> None:
    value = make_leaf(op={"what": what, "summary": summary})
    try:
        data = encode_leaf(value)
    except LeafInvalid as error:
        assert "nested deeper" in str(error)
        return
    assert data == rfc8785.dumps(value) == canonical(value)
    leaf = parse_leaf(data)
    assert leaf.op != leaf.out
    assert json.loads(data) == value


@pytest.mark.parametrize("innermost", [{}, {"a": "text"}, [], ["text"]])
def test_no_value_is_nested_deeper_than_the_limit(innermost: object) -> None:
    value = innermost
    for _ in range(MAX_DEPTH - 1):
        value = {"a": value}
    encode_leaf(make_leaf(op={"what": value}))
    with pytest.raises(LeafInvalid, match="nested deeper"):
        encode_leaf(make_leaf(op={"what": {"a": value}}))


def test_every_sample_entry_reads_back() -> None:
    for index, entry in enumerate(sample_journal().entries):
        leaf = parse_leaf(entry)
        assert leaf.seq == index
        assert encode_leaf(json.loads(entry)) == entry


@pytest.mark.parametrize(
    "kind",
    ["key.generate.denied", "key.state", "approval", "ceremony.step.done", "quota.spent", "log.key.rotate", "export"],
)
def test_types_of_the_list_are_taken(kind: str) -> None:
    out = {"out": {"status": "denied", "why": "rule"}} if kind.endswith("denied") else {}
    assert parse_leaf(encode_leaf(make_leaf() | {"type": kind} | out)).type == kind


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2},
        {"v": True},
        {"log": ""},
        {"seq": -1},
        {"seq": 2**53},
        {"seq": 1.0},
        {"seq": "0"},
        {"prev": "00" * 31},
        {"prev": "AB" * 32},
        {"prev": "zz" * 32},
        {"id": "01900000-0000-4000-8000-000000000000"},
        {"id": ""},
        {"id": "01900000-0000-7000-c000-000000000000"},
        {"id": "01900000-0000-7000-8000-00000000000A"},
        {"ts": "2026-03-01T00:00:00Z"},
        {"ts": "2026-03-01T00:00:00.000001+"},
        {"ts": "2026-02-30T00:00:00.000001Z"},
        {"ts": "2026-03-01 00:00:00.000001Z"},
        {"ts": "2026-03-01T24:00:00.000001Z"},
        {"mono": {"boot": "b"}},
        {"ts": "٢026-03-01T00:00:00.000001Z"},
        {"node": {"id": "n", "sw": "xx" * 32}},
        {"node": None},
        {"req": None},
        {"req": ""},
        {"req": "x" * 257},
        {"extra": 1},
        {"actor": {"name": "A Person"}},
        {"keys": []},
        {"keys": [{"kctr": 1}]},
        {"keys": [{"spki": "12" * 31 + "1G"}]},
        {"op": {"digest": "-" * 64}},
        {"op": {"policy": "A" * 64}},
        {"op": {"what": []}},
        {"op": {"what": {"x": None}}},
        {"op": {"what": {"x": 1.5}}},
        {"op": {"what": {"x": 2**53}}},
        {"op": {"what": {"x": [-(2**53)]}}},
        {"op": {"what": {"ü": 1}}},
        {"op": {"what": {"x": {"ü": 1}}}},
        {"apr": [{"h": "g" * 64, "i": 0, "officer": "o"}]},
        {"apr": []},
        {"out": {}},
        {"out": {"status": "maybe"}},
        {"out": {"status": "ok", "doc": "_" * 64}},
        {"out": {"status": "ok", "sigs": ["a" * 85]}},
        {"out": {"status": "ok", "sigs": ["a" * 85 + "="]}},
        {"out": {"status": "ok", "sigs": []}},
        {"type": "key.sign"},
        {"type": "key.copy.intent"},
        {"type": "ceremony."},
        {"type": "quota.x\n"},
        {"type": "ceremony.A"},
        {"ref": {"h": "00" * 32, "i": 0}},
        {"op": {"what": {"x": "\ud800"}}},
        {"op": {"what": {1: 2}}},
        {"op": {"what": {"x": object()}}},
        {"op": {"what": {"x": "y" * MAX_LEAF}}},
        {"op": {"what": {"a": [[[[[[[[1]]]]]]]]}}},
    ],
)
def test_entry_that_an_auditor_would_refuse_is_not_encoded(change: dict[str, Any]) -> None:
    with pytest.raises(LeafInvalid):
        encode_leaf(make_leaf() | change)


@pytest.mark.parametrize(
    ("leaf", "what"),
    [
        (make_leaf() | {"type": "key.sign.outcome", "out": {"status": "ok"}}, "must name its intent"),
        (make_outcome(keys=[{"kctr": 1, "spki": "00" * 32}]), "must not have a kctr"),
        (make_outcome(out={"status": "denied"}), "out.status ok or fail"),
        (make_outcome("key.sign.unknown"), "out.status unknown"),
        (make_outcome("key.sign.unknown", out={"status": "unknown", "sigs": ["a" * 86]}), "must not have signatures"),
        (make_leaf() | {"type": "key.sign.denied"}, "out.status denied"),
        (make_leaf() | {"type": "key.sign.denied", "out": {"status": "denied"}}, "which rule refused"),
        (make_intent(out={"status": "ok"}), "nothing has happened yet"),
        (make_intent(op={"kind": "x"}), "must have op.digest"),
        (make_intent(op={"digest": "00" * 32}), "actor, keys and op.kind"),
        (make_intent(keys=[{"spki": "00" * 32}]), "spki and kctr"),
        (make_intent(type="key.destroy.intent", keys=[{"kctr": 1}]), "without an spki"),
    ],
)
def test_each_type_has_its_fields(leaf: dict[str, Any], what: str) -> None:
    with pytest.raises(LeafInvalid, match=what):
        encode_leaf(leaf)


@pytest.mark.req("AU-2")
@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"v":1', b'"v": 1'),
        (b'"v":1', b'"v":1,"v":1'),
        (b'"seq":0', b'"seq":-0'),
        (b'"seq":0', b'"seq":0e0'),
        (b'"probe"', b'"\\u0070robe"'),
        (b'{"id"', b'{"v":1,"id"'),
        (b'"v":1}', b'"v":1}\n'),
        (b'"v":1}', b'"v":1}{}'),
        (b'"v":1}', b'"v":1'),
        (b"keyroom-1", b"keyroom\xff1"),
        (b'"v":1', b'"op":{"what":' + b'{"a":' * 3000 + b"1" + b"}" * 3001 + b',"v":1'),
    ],
)
def test_other_spellings_of_the_same_value_are_refused(old: bytes, new: bytes) -> None:
    data = encode_leaf(make_leaf())
    assert old in data
    with pytest.raises(LeafInvalid):
        parse_leaf(data.replace(old, new, 1))


@given(st.binary(max_size=200))
def test_any_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(LeafInvalid):
        parse_leaf(data)
