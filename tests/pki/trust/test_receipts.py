"""Receipts: by the pinned key, about the same device, for this challenge."""

import hashlib

import pytest

from pki.errors import PkiError, SignatureInvalid
from pki.trust import cbor
from pki.trust.receipts import compute_ueid, draft_receipt, verify_receipt
from tests.pki.trust.fleets import SoftKey, finish, sign, sign1, soft_key
from tests.pki.trust.messages import DEVICE, HASH, challenge, claims

OTHER = soft_key(162)


def test_accepts() -> None:
    message = sign1(claims(), DEVICE)
    assert verify_receipt(DEVICE.spki, message) == verify_receipt(DEVICE.spki, message, nonce=HASH) == claims()


def test_ueid_is_made_from_the_identity_key() -> None:
    assert compute_ueid(DEVICE.spki) == b"\x01" + hashlib.sha256(DEVICE.spki).digest()


def test_claim_numbers_are_those_of_rfc_9711() -> None:
    value = cbor.decode(claims().to_payload())
    assert isinstance(value, dict)
    assert (value[10], value[256], value[260]) == (HASH, compute_ueid(DEVICE.spki), ["C"])
    assert (value[263], value[265], value[267], value[268]) == (2, "tag:kedge,2026:receipt", 7, b"s" * 32)


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (sign1(claims(), OTHER), "cose-invalid"),
        (sign1(claims(ueid=compute_ueid(OTHER.spki)), DEVICE), "identity-mismatch"),
        (sign1(challenge(), DEVICE), "type-mismatch"),
        (sign(claims(), DEVICE), "cose-invalid"),
        (sign1(claims(slots=()), DEVICE), "payload-invalid"),
        (sign1(claims(dbgstat=5), DEVICE), "payload-invalid"),
        (sign1(claims(nonce=b"short"), DEVICE), "payload-invalid"),
    ],
)
def test_refusals(message: bytes, code: str) -> None:
    with pytest.raises(PkiError) as caught:
        verify_receipt(DEVICE.spki, message)
    assert caught.value.code == code


def test_another_challenge_is_refused() -> None:
    with pytest.raises(PkiError) as caught:
        verify_receipt(DEVICE.spki, sign1(claims(), DEVICE), nonce=bytes(32))
    assert caught.value.code == "nonce-mismatch"


def test_a_changed_byte_is_refused() -> None:
    with pytest.raises(SignatureInvalid):
        verify_receipt(DEVICE.spki, sign1(claims(), DEVICE).replace(b"evidence", b"evidencx"))


@pytest.mark.parametrize("device", [DEVICE, soft_key(163, "P-384"), soft_key(164, "Ed25519")])
def test_draft(device: SoftKey) -> None:
    own = claims(ueid=compute_ueid(device.spki))
    assert verify_receipt(device.spki, finish(draft_receipt(device.spki, own), device)) == own
