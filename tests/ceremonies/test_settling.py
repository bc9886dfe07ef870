"""Counting what a box did: each certificate once, however the journal is cut into settlements."""

from collections import Counter
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ceremonies.granted import Grant, list_facts
from ceremonies.replicas import Facts
from ceremonies.settling import NOTICES, OPEN, SPARE, Finding, Held, Pending, Settling, State
from pki.log.errors import AuditFailed
from pki.log.leaves import Leaf
from pki.x509.issuers import Issuer
from tests.world import CLASS, FLEET

CA, OTHER = "ca" * 32, "0b" * 32
START = datetime(2026, 1, 1, tzinfo=UTC)
ISSUER = Issuer(b"", b"", b"", START, START, "device-ca", CA, b"")
CLASS_ID = FLEET.class_id(CLASS).hex()
GRANTS = {
    name: Grant(name, number, CA, 3, ("idevid",), (CLASS_ID,), 1_767_225_600, 1_767_312_000, "dd" * 32)
    for number, name in enumerate(("graz-1", "graz-2", "graz-3"), 1)
}
HELD = Held(GRANTS, {"": Facts(ISSUER, FLEET)}, lambda _: None)
Act = tuple[str, int]
FIRST = {"h": "00" * 32, "i": 1}
SIGNED: dict[str, Any] = {"status": "ok", "doc": "ee" * 32, "sigs": ["A" * 86]}
FAILED = {"status": "fail", "sigs": ["A" * 86]}


def make_leaf(entry: str, what: dict[str, Any], **fields: Any) -> Leaf:
    """An entry of a box's journal as far as it is looked at."""
    digest = {"digest": fields.pop("digest")} if "digest" in fields else {}
    plain = {
        "v": 1, "log": "graz.example/journal", "seq": 0, "prev": "00" * 32, "id": "0" * 36, "type": entry,
        "ts": "2026-01-01T12:00:00.000000Z", "mono": {"boot": "b", "us": 1}, "node": {"id": "n", "sw": "00" * 32},
        "op": {"kind": fields.pop("kind", entry), "what": what, **digest},
    }  # fmt: skip
    return msgspec.convert({**plain, **fields}, Leaf)


def begin(number: int, grant: str, **fields: Any) -> Leaf:
    """The intent of request `number`; fields of the entry, or of its facts."""
    what = {"serial": f"A-{number}", "class": CLASS, "grant": grant} | fields.pop("what", {})
    facts = {"kind": "certificate.idevid", "keys": [{"spki": CA, "kctr": 1}], "req": f"order/wo:{number}"}
    return make_leaf("key.sign.intent", what, **{**facts, **fields})


def end(number: int, **fields: Any) -> Leaf:
    """The outcome of request `number`; fields as above."""
    out = {"status": "ok", "doc": "ee" * 32}
    what = {"serial": f"A-{number}", "class": CLASS} | fields.pop("what", {})
    facts = {"kind": "certificate.idevid", "req": f"order/wo:{number}", "ref": {"h": "00" * 32, "i": 0}}
    return make_leaf("key.sign.outcome", what, **{**facts, "out": out, **fields})


def take(name: str, **changes: Any) -> Leaf:
    """The box takes a grant."""
    return make_leaf("grant.import", {**list_facts(GRANTS[name]), **changes})


def judge(*leaves: Leaf, state: State | None = None) -> list[str]:
    """The codes of what is found, but for documents, of which there are none here."""
    settling = Settling(HELD, state or State())
    for seq, leaf in enumerate(leaves):
        settling.take(seq, leaf)
    return [item.code for item in settling.findings if item.code != "document-missing"]


def write_leaves(acts: list[Act]) -> list[Leaf]:
    """The entries that a box's acts leave."""
    current, leaves = "graz-1", [take("graz-1")]
    for act, number in acts:
        if act == "begin":
            leaves.append(begin(number, current))
        elif act == "end":
            leaves.append(end(number))
        elif f"graz-{number % 3 + 1}" > current:
            current = f"graz-{number % 3 + 1}"
            leaves.append(take(current))
    return leaves


def count_plainly(leaves: list[Leaf]) -> tuple[Counter[str], int]:
    """Certificates begun by grant, and those beyond: the same once more, without any of the code."""
    pending: set[str] = set()
    used: Counter[str] = Counter()
    over = 0
    for leaf in leaves:
        what: dict[str, Any] = (leaf.op.what or {}) if leaf.op else {}
        if leaf.type == "key.sign.intent" and leaf.req not in pending:
            pending.add(str(leaf.req))
            used[what["grant"]] += 1
            over += used[what["grant"]] > 3
        elif leaf.type == "key.sign.outcome":
            pending.discard(str(leaf.req))
    return used, over


def settle_parts(leaves: list[Leaf], cuts: list[int]) -> tuple[State, list[Finding]]:
    """Settled part by part; the state is written and read in between, as blobs are."""
    state, findings = State(), list[Finding]()
    bounds = sorted({0, len(leaves), *(cut % (len(leaves) + 1) for cut in cuts)})
    for start, stop in pairwise(bounds):
        settling = Settling(HELD, msgspec.json.decode(msgspec.json.encode(state), type=State))
        for seq in range(start, stop):
            settling.take(seq, leaves[seq])
        state = settling.state
        findings += settling.findings
    return state, findings


@pytest.mark.req("CA-13")
@given(st.lists(st.tuples(st.sampled_from(["begin", "begin", "end", "import"]), st.integers(0, 9))),
       st.lists(st.integers(0, 50), max_size=4))  # fmt: skip
def test_each_certificate_is_counted_once_however_the_journal_is_cut(acts: list[Act], cuts: list[int]) -> None:
    leaves = write_leaves(acts)
    used, over = count_plainly(leaves)
    whole, parts = settle_parts(leaves, []), settle_parts(leaves, cuts)
    assert whole == parts
    assert whole[0].used == used
    assert sum(item.code == "overuse" for item in whole[1]) == over


def test_what_a_box_may_do_is_no_finding() -> None:
    assert judge(take("graz-1"), begin(1, "graz-1"), end(1), take("graz-2"), begin(2, "graz-2"), end(2)) == []
    state = State()
    assert judge(take("graz-1"), begin(1, "graz-1"), begin(1, "graz-1"), state=state) == []
    assert (state.used, list(state.pending)) == ({"graz-1": 1}, ["order/wo:1"])


@pytest.mark.req("CA-13", "T4")
@pytest.mark.parametrize(
    ("leaves", "codes"),
    [
        ([begin(1, "graz-1")], ["grant-replaced"]),
        ([take("graz-2"), begin(1, "graz-1")], ["grant-replaced"]),
        ([take("graz-2"), take("graz-1")], ["grant-unknown"]),
        ([take("graz-1", document="aa" * 32)], ["grant-unknown"]),
        ([take("graz-1", grant="own")], ["grant-unknown"]),
        ([take("graz-1"), begin(1, "own")], ["grant-unknown"]),
        ([take("graz-1"), begin(1, "")], ["grant-unknown"]),
        ([take("graz-1"), begin(1, "graz-1", keys=[{"spki": OTHER, "kctr": 1}])], ["other-ca"]),
        ([take("graz-1"), begin(1, "graz-1", ts="2026-01-02T00:00:00.000000Z")], ["outside-window"]),
        ([take("graz-1"), begin(1, "graz-1", ts="2025-12-31T23:59:59.999999Z")], ["outside-window"]),
        ([take("graz-1"), begin(1, "graz-1"), end(1, kind="certificate.ieee2030-5-device")], ["other-class"]),
        ([take("graz-1"), begin(1, "graz-1"), end(1, what={"class": "other"})], ["other-class"]),
        ([take("graz-1"), begin(1, "graz-1"), end(1, what={"class": ["a", "list"]})], ["other-class"]),
        ([take("graz-1"), begin(1, "graz-1", digest="aa" * 32), begin(1, "graz-1")], ["request-changed"]),
        ([make_leaf("grant.import", {"grant": 7, "document": {}})], ["grant-unknown"]),
        ([begin(1, "", what={"grant": ["graz-1"], "serial": 7})], ["grant-unknown"]),
        ([take("graz-1"), end(1)], ["intent-missing"]),
        ([take("graz-1"), begin(1, "graz-1"), end(1, kind="crl", ref=FIRST, out=SIGNED)], ["certificate-differs"]),
        ([take("graz-1"), begin(1, "graz-1"), end(1, ref=FIRST, out=FAILED)], ["certificate-differs"]),
        ([take("graz-1"), *(begin(n, "graz-1") for n in range(5))], ["overuse", "overuse"]),
        ([make_leaf("key.sign.unknown", {}, out={"status": "unknown"})], ["unknown-outcome"]),
        ([make_leaf("log.recover", {"lost": {"from": 3, "to": 9}})], ["journal-recovered"]),
    ],
)  # fmt: skip
def test_what_a_box_may_not_do_is_found(leaves: list[Leaf], codes: list[str]) -> None:
    assert judge(*leaves) == codes


def test_what_is_of_no_grant_is_counted_under_no_name() -> None:
    """A box cannot make the state grow by names."""
    state = State()
    judge(take("graz-1"), *(begin(number, f"own-{number}") for number in range(3)), begin(3, "graz-1"), state=state)
    assert state.used == {"": 3, "graz-1": 1}


def revoke(*numbers: object) -> Leaf:
    return make_leaf("certificate.revoke", {"ca": CA, "reason": "keyCompromise", "numbers": [*numbers]})


def test_what_a_box_tells_of_certificates_has_their_form_and_an_end() -> None:
    settling, number = Settling(HELD, State()), "7f" * 20
    for told in (number, "80" * 20, "7F" * 20, "7f\0" * 13, "7f", 7):
        settling.take(1, revoke(told))
    for said in ("ab" * 32, "ab\0" * 21, "", "AB" * 32):
        settling.take(2, make_leaf("device.confirm", {"certificate": said}))
    assert (settling.revoked, settling.confirmed) == ({number: "keyCompromise"}, {"ab" * 32})
    many = [f"{value:040x}" for value in range(SPARE)]
    with pytest.raises(AuditFailed):
        settling.take(3, revoke(*many))
    honest = Settling(HELD, State(used={"graz-1": 1}))
    honest.take(3, revoke(number, *many))
    assert len(honest.revoked) == SPARE + 1


def test_a_box_cannot_make_the_state_grow_by_what_it_leaves_open() -> None:
    leaf = begin(1, "graz-1")
    for state in (
        State(opened=set(range(OPEN))),
        State(pending=dict.fromkeys(map(str, range(OPEN)), Pending(0, "", ""))),
    ):
        with pytest.raises(AuditFailed):
            Settling(HELD, state).take(OPEN, leaf)


def test_what_was_begun_before_anybody_looked_is_not_sound() -> None:
    """The state of an earlier release does not say whether anything was found about a request that is open."""
    old = msgspec.json.decode(b'{"pending": {"order/wo:1": {"seq": 1, "digest": "", "grant": "graz-1"}}}', type=State)
    assert not old.pending["order/wo:1"].sound


def test_what_a_crash_explains_is_no_alarm() -> None:
    settling = Settling(HELD, State())
    for seq, leaf in enumerate([take("graz-1"), begin(1, "graz-1"), make_leaf("key.sign.unknown", {})]):
        settling.take(seq, leaf)
    settling.finish()
    assert {item.code for item in settling.findings} == NOTICES
