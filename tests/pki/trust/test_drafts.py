"""Drafts of COSE messages: who signs which bytes, and nothing leaves that its reader would refuse."""

import pytest

from pki.errors import SignatureInvalid, SignatureMissing
from pki.signatures import spki_sha256
from pki.trust.cose import parse_sign, parse_sign1, sign1_bytes, sign_bytes, verified_kids
from pki.trust.drafts import draft_sign, draft_sign1
from pki.trust.errors import CoseKeyInvalid, FleetMismatch, ThresholdNotMet
from pki.trust.keys import CoseKey
from tests.pki.trust.fleets import COUNTERS, DIRECTOR, STRANGER, finish, keys_of
from tests.pki.trust.messages import challenge, counter_update

PAYLOAD = counter_update()


def passing(_: bytes) -> None:
    """Accepts everything."""


def refusing(_: bytes) -> None:
    raise FleetMismatch("no")


def test_each_signer_has_bytes_of_its_own() -> None:
    draft = draft_sign(PAYLOAD, keys_of(*COUNTERS), summary="s", what={"a": 1}, check=passing)
    wanted = {spki_sha256(k.spki): sign_bytes(PAYLOAD.typ(), k.key, PAYLOAD.to_payload()) for k in COUNTERS}
    assert {item.spki: item.data for item in draft.to_sign} == wanted
    assert len(set(wanted.values())) == 2
    assert (draft.summary, draft.what, draft.payload) == ("s", {"a": 1}, PAYLOAD.to_payload())


def test_signatures_are_sorted_by_kid_whatever_the_order_of_signers() -> None:
    one = finish(draft_sign(PAYLOAD, keys_of(*COUNTERS), summary="", what={}, check=passing), *COUNTERS)
    two = finish(draft_sign(PAYLOAD, keys_of(*COUNTERS[::-1]), summary="", what={}, check=passing), *COUNTERS)
    kids = [signature.kid for signature in parse_sign(one).signatures]
    assert kids == [signature.kid for signature in parse_sign(two).signatures] == sorted(kids)
    assert verified_kids(parse_sign(one), keys_of(*COUNTERS)) == set(kids)


def test_a_key_that_is_named_twice_signs_once() -> None:
    draft = draft_sign(PAYLOAD, keys_of(COUNTERS[0], COUNTERS[0]), summary="", what={}, check=passing)
    assert len(draft.to_sign) == 1


def test_without_a_signer_there_is_no_draft() -> None:
    with pytest.raises(ThresholdNotMet):
        draft_sign(PAYLOAD, [], summary="", what={}, check=passing)


def test_a_key_that_cannot_sign_is_refused() -> None:
    with pytest.raises(CoseKeyInvalid):
        draft_sign(PAYLOAD, [CoseKey(7, -48, (b"p",))], summary="", what={}, check=passing)


def test_signatures_are_checked_and_so_is_the_document() -> None:
    draft = draft_sign(PAYLOAD, keys_of(*COUNTERS), summary="", what={}, check=refusing)
    with pytest.raises(SignatureMissing):
        draft.finish({})
    with pytest.raises(SignatureInvalid):
        draft.finish({item.spki: STRANGER.sign(item.data) for item in draft.to_sign})
    with pytest.raises(FleetMismatch):
        finish(draft, *COUNTERS)


def test_sign1() -> None:
    payload = challenge()
    draft = draft_sign1(payload, DIRECTOR.key, summary="s", what={}, check=passing)
    assert draft.to_sign[0].data == sign1_bytes(payload.typ(), DIRECTOR.key, payload.to_payload())
    assert parse_sign1(finish(draft, DIRECTOR)).signature.kid == DIRECTOR.kid
    with pytest.raises(FleetMismatch):
        finish(draft_sign1(payload, DIRECTOR.key, summary="s", what={}, check=refusing), DIRECTOR)
