"""Links between trust sets: one table of verdicts per numbered step of the device rules, part B."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pki.errors import PkiError
from pki.trust import cbor, errors
from pki.trust.cose import Signature, encode_sign, parse_sign
from pki.trust.keys import CoseKey
from pki.trust.links import (
    MAX_CHAIN,
    MAX_SET,
    check_possession,
    check_well_formed,
    draft_trust_set,
    verify_chain,
    verify_genesis,
    verify_link,
)
from pki.trust.sets import Kind, RecoveryCommitment, RoleId, Scope, TrustSet
from tests.pki.trust.fleets import (
    CLASS,
    COUNTERS,
    DIRECTOR,
    IMAGE,
    MANIFEST,
    OTHER_CLASS,
    RECOVERY,
    ROOTS,
    STRANGER,
    SoftKey,
    finish,
    following,
    genesis,
    group,
    keys_of,
    recovering,
    sign,
    signature_by,
    soft_key,
    with_root,
)

OLD = genesis()
NEW_ROOTS = (ROOTS[0], soft_key(104), soft_key(105))
ROTATED = following(OLD, **with_root(OLD, 2, *NEW_ROOTS))
COMMITMENT = RecoveryCommitment(1, (soft_key(114).kid,))


def verdict(verify: Callable[[], object]) -> str:
    try:
        verify()
    except PkiError as error:
        return error.code
    return "accept"


def link_verdict(old: TrustSet, message: bytes) -> str:
    return verdict(lambda: verify_link(old, message))


# What is sent, who signs it, the verdict.
LINKS: list[tuple[str, TrustSet, tuple[SoftKey, ...], str]] = [
    ("planned by the threshold", following(OLD), ROOTS[:2], "accept"),
    ("emergency by the threshold", following(OLD, kind=Kind.EMERGENCY), ROOTS[1:], "accept"),
    ("below the old threshold", following(OLD), ROOTS[:1], "threshold-not-met"),
    ("by strangers", following(OLD), (STRANGER, MANIFEST, IMAGE), "threshold-not-met"),
    ("by recovery keys, yet planned", following(OLD), RECOVERY, "threshold-not-met"),
    ("a key counts on both sides", ROTATED, (ROOTS[0], ROOTS[1], NEW_ROOTS[1]), "accept"),
    ("old threshold alone", ROTATED, ROOTS[:2], "threshold-not-met"),
    ("new threshold alone", ROTATED, NEW_ROOTS[1:], "threshold-not-met"),
    ("old and new, one short", ROTATED, (ROOTS[1], *NEW_ROOTS[1:]), "threshold-not-met"),
    ("epoch skipped", following(OLD, epoch=2), ROOTS[:2], "set-index-refused"),
    ("same epoch", following(OLD, epoch=0), ROOTS[:2], "set-index-refused"),
    ("other generation", following(OLD, generation=1), ROOTS[:2], "set-index-refused"),
    ("genesis again", OLD, ROOTS, "set-index-refused"),
    ("other previous set", following(OLD, previous=bytes(32)), ROOTS[:2], "set-previous-mismatch"),
    ("no previous set", following(OLD, previous=None), ROOTS[:2], "set-previous-mismatch"),
    ("other fleet", following(OLD, fleet=bytes(16)), ROOTS[:2], "fleet-mismatch"),
    ("recovery", recovering(OLD), (*RECOVERY[:2], *ROOTS[:2]), "accept"),
    ("recovery with a new commitment", recovering(OLD, recovery=COMMITMENT), (*RECOVERY[1:], *ROOTS[:2]), "accept"),
    ("recovery below its threshold", recovering(OLD), (RECOVERY[0], *ROOTS), "threshold-not-met"),
    ("recovery without new roots", recovering(OLD), RECOVERY, "threshold-not-met"),
    ("recovery by roots", recovering(OLD), ROOTS, "threshold-not-met"),
    ("recovery, generation skipped", recovering(OLD, generation=2), (*RECOVERY, *ROOTS), "set-index-refused"),
    ("recovery, epoch 1", recovering(OLD, epoch=1), (*RECOVERY, *ROOTS), "set-index-refused"),
    ("recovery names a previous set", recovering(OLD, previous=bytes(32)), (*RECOVERY, *ROOTS),
     "set-previous-mismatch"),
    ("recovery lists a key without a role", recovering(OLD, keys=(*OLD.keys, *keys_of(*RECOVERY, STRANGER))),
     (*RECOVERY, *ROOTS), "set-malformed"),
    ("commitment changed by roots", following(OLD, recovery=COMMITMENT), ROOTS, "recovery-changed"),
    ("commitment changed with recovery signatures",
     following(OLD, recovery=COMMITMENT, keys=(*OLD.keys, *keys_of(*RECOVERY))), (*RECOVERY[:2], *ROOTS[:2]), "accept"),
    ("malformed", following(OLD, revoked=(MANIFEST.kid,)), ROOTS, "set-malformed"),
    ("a key without a role", following(OLD, keys=(*OLD.keys, STRANGER.key)), ROOTS, "set-malformed"),
]  # fmt: skip


@pytest.mark.req("RO-2")
@pytest.mark.parametrize(("new", "signers", "wanted"), [row[1:] for row in LINKS], ids=[row[0] for row in LINKS])
def test_link(new: TrustSet, signers: tuple[SoftKey, ...], wanted: str) -> None:
    assert link_verdict(OLD, sign(new, *signers)) == wanted


def test_link_returns_the_set() -> None:
    assert verify_link(OLD, sign(ROTATED, *ROOTS, *NEW_ROOTS[1:])) == ROTATED


def test_last_epoch_of_a_generation_has_no_successor_but_recovery() -> None:
    last = genesis(kind=Kind.PLANNED, epoch=63, previous=bytes(32))
    assert verify_link(last, sign(recovering(last), *RECOVERY, *ROOTS)).index == 64
    with pytest.raises(errors.PayloadInvalid):
        verify_link(last, sign(following(last), *ROOTS))


@pytest.mark.parametrize(
    ("changes", "signers", "wanted"),
    [
        ({}, ROOTS, "accept"),
        ({}, ROOTS[:2], "threshold-not-met"),
        ({"kind": Kind.PLANNED}, ROOTS, "set-index-refused"),
        ({"epoch": 1}, ROOTS, "set-index-refused"),
        ({"previous": bytes(32)}, ROOTS, "set-index-refused"),
        ({"keys": (*OLD.keys, RECOVERY[0].key)}, ROOTS, "set-malformed"),
        ({"revoked": (MANIFEST.kid,)}, ROOTS, "set-malformed"),
    ],
)
def test_genesis(changes: dict[str, Any], signers: tuple[SoftKey, ...], wanted: str) -> None:
    assert verdict(lambda: verify_genesis(sign(genesis(**changes), *signers))) == wanted


OFF_CURVE = CoseKey(2, -7, (1, b"\1" * 32, b"\2" * 32))
MALFORMED: dict[str, dict[str, Any]] = {
    "member not listed": {"keys": OLD.keys[1:]},
    "key twice": {"keys": (*OLD.keys, OLD.keys[0])},
    "off the curve": {"keys": (*OLD.keys, OFF_CURVE)},
    "threshold above members": {"roles": {**OLD.roles, RoleId.DIRECTOR: group(2, DIRECTOR)}},
    "threshold met by repetition": {"roles": {**OLD.roles, RoleId.DIRECTOR: group(2, DIRECTOR, DIRECTOR)}},
    "key in two roles": {"roles": {**OLD.roles, RoleId.IMAGE_BOOT: group(1, IMAGE)}},
    "scopes overlap": {
        "roles": {
            **OLD.roles,
            RoleId.MANIFEST_SIGNER: (
                *group(1, MANIFEST, scope=Scope(classes=(CLASS, OTHER_CLASS))),
                *group(1, MANIFEST, scope=Scope(classes=(CLASS,))),
            ),
        }
    },
    "no root": {"roles": {role: groups for role, groups in OLD.roles.items() if role is not RoleId.OEM_ROOT}},
    "root with a scope": {"roles": {**OLD.roles, RoleId.OEM_ROOT: group(2, *ROOTS, scope=Scope(classes=(CLASS,)))}},
    "counter group of one": {"roles": {**OLD.roles, RoleId.COUNTER: group(1, *COUNTERS)}},
    "recovery threshold": {"recovery": RecoveryCommitment(4, OLD.recovery.thumbprints)},
    "recovery key in a role": {"recovery": RecoveryCommitment(1, (ROOTS[0].kid,))},
    "revoked key in a role": {"revoked": (MANIFEST.kid,)},
}


@pytest.mark.parametrize("changes", MALFORMED.values(), ids=MALFORMED)
def test_malformed(changes: dict[str, Any]) -> None:
    with pytest.raises((errors.SetMalformed, errors.RoleUndefined)):
        check_well_formed(genesis(**changes))


def test_well_formed_with_disjoint_scopes_and_keys_of_the_next_algorithm() -> None:
    pqc = CoseKey(7, -48, (b"p" * 1312,))
    groups = (
        *group(1, MANIFEST, scope=Scope(classes=(CLASS,))),
        msgspec.structs.replace(group(1, MANIFEST)[0], members=(pqc.thumbprint,), scope=Scope(classes=(OTHER_CLASS,))),
    )
    check_well_formed(genesis(keys=(*OLD.keys, pqc), roles={**OLD.roles, RoleId.MANIFEST_SIGNER: groups}))


def chain(length: int) -> list[bytes]:
    messages, old = [], OLD
    for _ in range(length):
        old = following(old)
        messages.append(sign(old, *ROOTS[:2]))
    return messages


@given(st.lists(st.integers(1, 3), min_size=1, max_size=3))
@settings(max_examples=10, deadline=None)
def test_d5_chunking_a_chain_changes_nothing(sizes: list[int]) -> None:
    messages = chain(sum(sizes))
    whole, step = verify_chain(OLD, messages), OLD
    for size in sizes:
        step, messages = verify_chain(step, messages[:size]), messages[size:]
    assert step == whole


def test_d6_a_replayed_link_is_refused() -> None:
    first, second = chain(2)
    newest = verify_chain(OLD, [first, second])
    assert link_verdict(newest, first) == link_verdict(newest, second) == "set-index-refused"


def test_d7_a_broken_chain_is_rejected_whole() -> None:
    first, _, third = chain(3)
    with pytest.raises(errors.IndexRefused):
        verify_chain(OLD, [first, third])
    assert verify_chain(OLD, []) == OLD


def test_d8_one_key_counts_once_however_often_it_signs() -> None:
    new = following(OLD)
    twice = sorted(signature_by(new, ROOTS[0]) for _ in range(2))
    assert link_verdict(OLD, _assembled(new, twice)) == "threshold-not-met"
    enough = sorted([*twice, signature_by(new, ROOTS[1])])
    assert link_verdict(OLD, _assembled(new, enough)) == "accept"


def test_d8_an_aliased_kid_does_not_count() -> None:
    new = following(OLD)
    own = signature_by(new, ROOTS[0])
    alias = msgspec.structs.replace(own, kid=ROOTS[1].kid)
    assert link_verdict(OLD, _assembled(new, sorted([own, alias]))) == "threshold-not-met"


ALL = (*ROOTS, *NEW_ROOTS[1:], *RECOVERY[:2], STRANGER)


@given(
    new=st.sampled_from([ROTATED, recovering(OLD)]),
    signers=st.sets(st.sampled_from(ALL), min_size=2),
    removed=st.sampled_from(ALL),
    garbage=st.lists(st.tuples(st.binary(min_size=32, max_size=32), st.binary(max_size=80)), max_size=3),
)
@settings(max_examples=40, deadline=None)
def test_d9_removal_never_accepts_and_garbage_changes_nothing(
    new: TrustSet, signers: set[SoftKey], removed: SoftKey, garbage: list[tuple[bytes, bytes]]
) -> None:
    signatures = [signature_by(new, signer) for signer in signers]
    before = verdict(lambda: verify_link(OLD, _assembled(new, signatures)))
    noise = [Signature(kid, -7, value) for kid, value in garbage]
    assert link_verdict(OLD, _assembled(new, [*signatures, *noise])) == before
    fewer = [signature for signature in signatures if signature.kid != removed.kid]
    if before != "accept" and fewer:
        assert link_verdict(OLD, _assembled(new, fewer)) != "accept"


@given(signers=st.sets(st.sampled_from((*ROOTS, *NEW_ROOTS[1:], STRANGER)), min_size=1))
@settings(max_examples=40, deadline=None)
def test_d17_without_recovery_signatures_the_commitment_stays(signers: set[SoftKey]) -> None:
    for new in (following(OLD, recovery=COMMITMENT), recovering(OLD, recovery=COMMITMENT)):
        assert link_verdict(OLD, sign(new, *signers)) != "accept"


@pytest.mark.req("RO-3")
def test_every_new_root_proves_possession() -> None:
    message = sign(ROTATED, ROOTS[0], ROOTS[1], NEW_ROOTS[1])
    assert verify_link(OLD, message) == ROTATED
    with pytest.raises(errors.PossessionUnproven):
        check_possession(OLD, message)
    check_possession(OLD, sign(ROTATED, *ROOTS[:2], *NEW_ROOTS[1:]))


def test_size_limit_and_type() -> None:
    with pytest.raises(errors.SetMalformed):
        verify_chain(OLD, [b""] * (MAX_CHAIN + 1))
    with pytest.raises(errors.SetMalformed):
        verify_link(OLD, bytes(MAX_SET + 1))
    message = parse_sign(sign(following(OLD), *ROOTS))
    other = msgspec.structs.replace(message, typ="application/kedge-fw-manifest+cbor")
    with pytest.raises(errors.TypeMismatch):
        verify_link(OLD, encode_sign(other))


def test_draft_of_genesis_and_of_a_rotation() -> None:
    draft = draft_trust_set(OLD, None, [])
    assert draft.kind == "trust-set"
    assert len(draft.to_sign) == 3
    assert verify_genesis(finish(draft, *ROOTS)) == OLD
    rotation = draft_trust_set(ROTATED, OLD, keys_of(*ROOTS[:2]))
    assert len(rotation.to_sign) == 4  # ROOTS[0] counts on both sides and signs once
    assert verify_link(OLD, finish(rotation, *ROOTS, *NEW_ROOTS)) == ROTATED
    assert rotation.what["set_kind"] == "planned"
    assert "(0, 1)" in rotation.summary


def test_draft_of_a_recovery() -> None:
    new = recovering(OLD, recovery=COMMITMENT)
    draft = draft_trust_set(new, OLD, keys_of(*RECOVERY[:2], *ROOTS[:2]))
    assert verify_link(OLD, finish(draft, *RECOVERY, *ROOTS)) == new


def test_draft_with_too_few_signers_never_leaves() -> None:
    with pytest.raises(errors.ThresholdNotMet):
        finish(draft_trust_set(ROTATED, OLD, keys_of(ROOTS[0])), *ROOTS, *NEW_ROOTS)


def _assembled(new: TrustSet, signatures: list[Signature]) -> bytes:
    """A COSE_Sign with repetitions, which `encode_sign` does not write."""
    signers: list[cbor.Value] = [[one.protected, {}, one.value] for one in sorted(signatures)]
    return b"\xd8\x62" + cbor.encode([cbor.encode({16: new.typ()}), {}, new.to_payload(), signers])
