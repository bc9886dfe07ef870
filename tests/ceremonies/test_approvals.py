"""Approvals bind one officer to one statement; a quorum counts persons."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ceremonies.approvals import (
    Approval,
    ApprovalTemplate,
    Assurance,
    Decision,
    LogCheckpoint,
    QuorumRule,
    count_quorum,
    parse_template,
    read_decision,
    statement_bytes,
    verify_approval,
)
from ceremonies.errors import ApprovalMalformed, ApprovalMismatch, ApprovalRefused, ApprovalUnsigned
from ceremonies.officers import Officer, Roster
from pki.jcs import jcs
from tests.ceremonies.ssh_keys import PRESENT, OfficerKey, make_key

NOW = datetime(2026, 11, 2, 9, 30, tzinfo=UTC)
SK = "sk-ssh-ed25519@openssh.com"
KEYS: dict[str, tuple[OfficerKey, ...]] = {
    "ada": (make_key(SK), make_key()),
    "bob": (make_key(),),
    "cyd": (make_key(),),
}
ROSTER = Roster(
    officers=tuple(
        Officer(name, name.upper(), tuple(k.line for k in keys), ("officer",)) for name, keys in KEYS.items()
    )
)
TEMPLATE = ApprovalTemplate(
    action="trust-set.rotate",
    ceremony="c-2026-11",
    step="results",
    draft="0d" * 32,
    signers=("1a" * 32, "2b" * 32),
    summary="Trust set (0, 1) replaces (0, 0)",
    params={"generation": 0, "epoch": 1, "classes": ["bms-stm32h7"]},
    policy_sha256="3c" * 32,
    software_sha256="4d" * 32,
    log_checkpoint=LogCheckpoint(size=417, root="5e" * 32),
    m=2,
    n=3,
    not_after=NOW + timedelta(hours=1),
    nonce="6f" * 16,
    chg="CHG-1042",
)
# For every field of the statement something else that is as well-formed: what a replayed approval could say.
OTHERS: dict[str, Any] = {
    "action": "counter.raise",
    "ceremony": "c-2026-12",
    "step": "plan",
    "draft": "ee" * 32,
    "signers": ("1a" * 32,),
    "summary": "Trust set (0, 1) replaces (0, 0).",
    "params": {"generation": 0, "epoch": 1, "classes": []},
    "policy_sha256": "ee" * 32,
    "software_sha256": "ee" * 32,
    "log_checkpoint": LogCheckpoint(size=418, root="5e" * 32),
    "m": 1,
    "n": 4,
    "not_after": NOW + timedelta(hours=1, microseconds=1),
    "nonce": "ee" * 16,
    "chg": "",
}


def approve(name: str, template: ApprovalTemplate = TEMPLATE, decision: Decision = "approve", key: int = 0) -> Approval:
    statement = statement_bytes(template, name, decision)
    return verify_approval(template, statement, KEYS[name][key].sign(statement), ROSTER)


def signed(value: Any, by: str = "ada") -> tuple[bytes, str]:
    statement = value if isinstance(value, bytes) else jcs(value)
    return statement, KEYS[by][0].sign(statement)


@pytest.mark.req("MP-2", "MP-3")
def test_an_approval_verifies_and_says_what_stood_behind_the_key() -> None:
    approval = approve("ada")
    assert (approval.officer, approval.decision, approval.roles) == ("ada", "approve", ("officer",))
    assert (approval.assurance, approve("ada", key=1).assurance) == ("verification", "software")
    statement = statement_bytes(TEMPLATE, "ada", "reject")
    touched = KEYS["ada"][0].sign(statement, flags=PRESENT)
    assert verify_approval(TEMPLATE, statement, touched, ROSTER).assurance == "presence"


def test_the_statement_has_the_documented_fields() -> None:
    fields = json.loads(statement_bytes(TEMPLATE, "ada", "approve"))
    assert set(fields) == {*OTHERS, "type", "officer", "decision"}
    assert fields["type"] == "kedge/approval/v1"
    assert fields["not_after"] == "2026-11-02T10:30:00.000000Z"
    without = statement_bytes(msgspec.structs.replace(TEMPLATE, chg=""), "ada", "approve")
    assert "chg" not in json.loads(without)


def test_a_template_comes_back_from_its_document() -> None:
    assert parse_template(TEMPLATE.document) == TEMPLATE
    assert json.loads(statement_bytes(TEMPLATE, "ada", "approve")).items() >= json.loads(TEMPLATE.document).items()


@pytest.mark.parametrize(
    "change",
    [
        {"extra": 1},
        {"m": -1},
        {"draft": "0D" * 32},
        {"signers": ["2b" * 32, "1a" * 32]},
        {"not_after": "2026-11-02T10:30:00Z"},
        {"not_after": "2026-11-02T11:30:00.000000+01:00"},
        {"chg": ""},
        {"type": "kedge/approval/v2"},
        {"nonce": "00"},
        {"summary": ""},
    ],
)
def test_templates_that_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ApprovalMalformed):
        parse_template(jcs({**json.loads(TEMPLATE.document), **change}))


@pytest.mark.req("MP-2", "T10")
@pytest.mark.parametrize("field", sorted(OTHERS))
def test_an_approval_for_anything_else_counts_as_none_and_names_the_field(field: str) -> None:
    other = msgspec.structs.replace(TEMPLATE, **{field: OTHERS[field]})
    statement = statement_bytes(other, "ada", "approve")
    signature = KEYS["ada"][0].sign(statement)
    assert verify_approval(other, statement, signature, ROSTER).officer == "ada"
    with pytest.raises(ApprovalMismatch) as caught:
        verify_approval(TEMPLATE, statement, signature, ROSTER)
    assert caught.value.details == {"fields": [field]}


def test_no_field_of_the_statement_was_forgotten_above() -> None:
    assert set(ApprovalTemplate.__struct_fields__) == {*OTHERS, "type"}


@pytest.mark.req("T9", "T10")
@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ({"extra": True}, ["extra"]),
        ({"type": "kedge/approval/v2"}, ["type"]),
        ({"summary": "harmless", "m": 1}, ["m", "summary"]),
        ({"m": True}, ["m"]),
        ({"log_checkpoint": {"size": 417, "root": "5e" * 32, "x": 1}}, ["log_checkpoint"]),
    ],
)
def test_a_statement_with_surplus_or_other_fields_is_refused(change: dict[str, Any], fields: list[str]) -> None:
    value = {**json.loads(statement_bytes(TEMPLATE, "ada", "approve")), **change}
    with pytest.raises(ApprovalMismatch) as caught:
        verify_approval(TEMPLATE, *signed(value), ROSTER)
    assert caught.value.details == {"fields": fields}


@pytest.mark.parametrize(
    "statement",
    [
        b"",
        b"[]",
        b"7",
        b"\xff\xfe",
        b'{"officer":"ada"}',
        b'{"decision":"approve","officer":7}',
        b'{"decision":"maybe","officer":"ada"}',
        b'{"decision":true,"officer":"ada"}',
        b'{"officer":"ada","decision":"approve"}',
        b'{"decision":"approve","officer":"ada","officer":"bob"}',
        b"{" * 50_000,
        b" " * 70_000,
    ],
)
def test_a_malformed_statement_is_no_approval_and_no_crash(statement: bytes) -> None:
    with pytest.raises(ApprovalMalformed):
        verify_approval(TEMPLATE, *signed(statement), ROSTER)


@given(st.binary(max_size=60), st.text(max_size=60))
def test_no_input_raises_anything_but_a_refusal(statement: bytes, signature: str) -> None:
    good = statement_bytes(TEMPLATE, "ada", "approve")
    for pair in ((statement, signature), (good, signature), (statement, KEYS["ada"][0].sign(good))):
        with pytest.raises(ApprovalRefused):
            verify_approval(TEMPLATE, *pair, ROSTER)


@pytest.mark.req("MP-3")
def test_only_the_named_officers_own_signature_counts() -> None:
    statement = statement_bytes(TEMPLATE, "ada", "approve")
    for key, why in [(KEYS["bob"][0], "is bob's"), (make_key(), "no officer")]:
        with pytest.raises(ApprovalUnsigned, match=why):
            verify_approval(TEMPLATE, statement, key.sign(statement), ROSTER)
    rejecting = statement_bytes(TEMPLATE, "ada", "reject")
    with pytest.raises(ApprovalUnsigned, match="does not verify"):
        verify_approval(TEMPLATE, statement, KEYS["ada"][0].sign(rejecting), ROSTER)
    with pytest.raises(ApprovalUnsigned, match="namespace"):
        verify_approval(TEMPLATE, statement, KEYS["ada"][0].sign(statement, "git"), ROSTER)
    with pytest.raises(ApprovalUnsigned, match="touched"):
        verify_approval(TEMPLATE, statement, KEYS["ada"][0].sign(statement, flags=0), ROSTER)
    with pytest.raises(ApprovalMalformed):
        verify_approval(TEMPLATE, statement, "no signature", ROSTER)


RULE = QuorumRule(kind="trust-set", m=2, n=3, roles=("officer",))


@pytest.mark.req("MP-1")
def test_two_persons_are_two_and_one_person_with_two_keys_is_one() -> None:
    met = count_quorum(RULE, [approve("ada"), approve("bob")], "cyd", NOW)
    assert (met.met, met.have, met.missing, met.shortfall) == (True, ("ada", "bob"), 0, "")
    twice = count_quorum(RULE, [approve("ada"), approve("ada", key=1)], "cyd", NOW)
    assert (twice.met, twice.have, twice.missing) == (False, ("ada",), 1)
    assert twice.shortfall == "1 of 2 approvals, 1 missing"
    assert count_quorum(RULE, [], "cyd", NOW).missing == 2


@pytest.mark.req("MP-1")
def test_the_proposer_counts_but_never_alone() -> None:
    assert count_quorum(RULE, [approve("ada"), approve("bob")], "ada", NOW).met
    one = msgspec.structs.replace(RULE, m=1)
    alone = count_quorum(one, [approve("ada"), approve("ada", key=1)], "ada", NOW)
    assert (alone.met, alone.missing) == (False, 1)
    assert count_quorum(one, [approve("bob")], "ada", NOW).met


@pytest.mark.req("MP-9")
def test_a_rejection_blocks_even_beside_enough_approvals() -> None:
    approvals = [approve("ada"), approve("bob"), approve("cyd", decision="reject")]
    blocked = count_quorum(RULE, approvals, "ada", NOW)
    assert (blocked.met, blocked.missing, blocked.rejected_by) == (False, 0, ("cyd",))
    assert "rejected by cyd" in blocked.shortfall
    torn = count_quorum(RULE, [approve("ada"), approve("bob"), approve("bob", decision="reject")], "cyd", NOW)
    assert (torn.have, torn.rejected_by, torn.missing) == (("ada",), ("bob",), 1)


@pytest.mark.req("MP-2")
def test_an_expired_approval_or_rejection_is_none() -> None:
    approvals = [approve("ada"), approve("bob"), approve("cyd", decision="reject")]
    last = count_quorum(RULE, approvals[:2], "cyd", TEMPLATE.not_after)
    assert last.met
    after = count_quorum(RULE, approvals, "cyd", TEMPLATE.not_after + timedelta(microseconds=1))
    assert (after.have, after.missing, after.rejected_by) == ((), 2, ())


@pytest.mark.req("MP-11")
def test_break_glass_takes_one_officer_and_no_rejection_stops_it() -> None:
    stop = QuorumRule(kind="key.suspend", m=1, n=3, roles=("officer",), stop=True)
    assert count_quorum(stop, [approve("ada")], "ada", NOW).met
    assert count_quorum(stop, [approve("ada"), approve("bob", decision="reject")], "ada", NOW).met
    assert not count_quorum(stop, [], "ada", NOW).met


@pytest.mark.req("MP-6")
def test_roles_are_required_and_a_witness_never_counts() -> None:
    def by(name: str, *roles: str) -> Approval:
        return msgspec.structs.replace(approve(name), roles=roles)

    rule = msgspec.structs.replace(RULE, roles=("officer", "secadm"), must_include=("secadm",))
    lacking = count_quorum(rule, [by("ada", "officer"), by("bob", "officer")], "cyd", NOW)
    assert (lacking.met, lacking.missing, lacking.missing_roles) == (False, 0, ("secadm",))
    assert "nobody approved as secadm" in lacking.shortfall
    assert count_quorum(rule, [by("ada", "officer"), by("bob", "secadm")], "cyd", NOW).met
    outsider = count_quorum(RULE, [by("ada", "officer"), by("bob", "engineer")], "cyd", NOW)
    assert (outsider.missing, outsider.ignored) == (1, (("bob", "holds none of the roles officer"),))
    witness = msgspec.structs.replace(RULE, roles=("officer", "witness"))
    assert count_quorum(witness, [by("ada", "officer"), by("bob", "witness")], "cyd", NOW).missing == 1


@pytest.mark.req("MP-3")
def test_the_key_must_give_the_assurance_that_the_rule_asks_for() -> None:
    rule = msgspec.structs.replace(RULE, assurance="verification")
    found = count_quorum(rule, [approve("ada"), approve("bob")], "cyd", NOW)
    assert (found.have, found.missing) == (("ada",), 1)
    assert found.ignored == (("bob", "key gives software, verification is required"),)
    both = count_quorum(rule, [approve("ada"), approve("ada", key=1)], "cyd", NOW)
    assert (both.have, both.ignored) == (("ada",), ())


def test_an_act_without_a_quorum_needs_nobody_but_a_rejection_still_blocks() -> None:
    none = msgspec.structs.replace(RULE, m=0, roles=())
    assert count_quorum(none, [], "ada", NOW).met
    assert not count_quorum(none, [approve("bob", decision="reject")], "ada", NOW).met


def _approvals() -> st.SearchStrategy[Approval]:
    decisions: st.SearchStrategy[Decision] = st.sampled_from(["approve", "approve", "approve", "reject"])
    assurances: st.SearchStrategy[Assurance] = st.sampled_from(["software", "presence", "verification"])
    return st.builds(
        Approval,
        officer=st.sampled_from("abcde"),
        decision=decisions,
        roles=st.sampled_from([("officer",), ("officer", "secadm"), ("witness",)]),
        assurance=assurances,
        not_after=st.sampled_from([NOW - timedelta(seconds=1), NOW, NOW + timedelta(hours=1)]),
        key=st.sampled_from(["SHA256:1", "SHA256:2"]),
        sha256=st.sampled_from(["1", "2"]),
    )


RULES = st.builds(
    QuorumRule,
    kind=st.just("trust-set"),
    m=st.integers(0, 4),
    n=st.just(5),
    roles=st.just(("officer",)),
    must_include=st.sampled_from([(), ("secadm",)]),
    assurance=st.sampled_from(["software", "verification"]),
)


@pytest.mark.req("MP-1")
@given(RULES, st.lists(_approvals(), max_size=8), st.data())
def test_repeats_other_keys_and_order_never_change_a_verdict(
    rule: QuorumRule, approvals: list[Approval], data: st.DataObject
) -> None:
    verdict = count_quorum(rule, approvals, "a", NOW)
    again = data.draw(st.lists(st.sampled_from(approvals), max_size=5)) if approvals else []
    aliased = [msgspec.structs.replace(item, key="SHA256:3", sha256="3") for item in again]
    shuffled = data.draw(st.permutations(approvals + again + aliased))
    assert count_quorum(rule, shuffled, "a", NOW) == verdict


@pytest.mark.req("MP-1")
@given(RULES, st.lists(_approvals(), max_size=8))
def test_a_quorum_that_is_met_has_its_persons(rule: QuorumRule, approvals: list[Approval]) -> None:
    verdict = count_quorum(rule, approvals, "a", NOW)
    live = [item for item in approvals if item.not_after >= NOW]
    persons = {item.officer for item in live if item.decision == "approve" and "officer" in item.roles}
    assert set(verdict.have) <= persons
    if verdict.met:
        assert len(verdict.have) >= rule.m
        assert rule.m == 0 or set(verdict.have) != {"a"}
        assert not any(item.decision == "reject" for item in live)


@given(RULES, st.lists(_approvals(), max_size=6), st.integers(0, 5))
def test_taking_an_approval_away_never_meets_a_quorum(rule: QuorumRule, approvals: list[Approval], at: int) -> None:
    approving = [item for item in approvals if item.decision == "approve"]
    fewer = approving[:at] + approving[at + 1 :]
    assert count_quorum(rule, approving, "a", NOW).met or not count_quorum(rule, fewer, "a", NOW).met


def test_a_decision_is_read_from_its_place() -> None:
    """The params of a ceremony may hold the same words."""
    template = msgspec.structs.replace(TEMPLATE, params={"decision": "reject"})
    for decision in ("approve", "reject"):
        assert read_decision(statement_bytes(template, "ada", decision)) == decision
    for statement in (b"", b"{}", b'{"decision":"maybe","officer":"ada"}', b'{"decision":"reject","officer":"ada"} '):
        with pytest.raises(ApprovalMalformed):
            read_decision(statement)


@pytest.mark.parametrize("field", ["action", "ceremony", "step", "draft", "policy_sha256", "software_sha256", "nonce"])
def test_no_name_and_no_digest_ends_with_a_line(field: str) -> None:
    fields = {**json.loads(TEMPLATE.document), field: getattr(TEMPLATE, field) + "\n"}
    with pytest.raises(ApprovalMalformed):
        parse_template(jcs(fields))
