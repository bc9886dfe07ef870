"""COSE_Sign and COSE_Sign1: the one form, and who is found to have signed."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pki.errors import SignatureInvalid
from pki.trust import cbor
from pki.trust.cose import (
    MAX_MESSAGE,
    MAX_SIGNATURES,
    Sign1Message,
    Signature,
    SignMessage,
    check_typ,
    encode_sign,
    encode_sign1,
    parse_sign,
    parse_sign1,
    sign1_bytes,
    sign_bytes,
    verified_kids,
    verify_sign1,
)
from pki.trust.errors import CborInvalid, CoseInvalid, TypeMismatch
from tests.pki.trust.fleets import SoftKey, keys_of, soft_key

TYP = "application/kedge-trust-set+cbor"
PAYLOAD = b"payload"
P256, P384, ED = soft_key(1), soft_key(2, "P-384"), soft_key(3, "Ed25519")
ALL = (P256, P384, ED)
KID = bytes(range(32))
EMPTY = cbor.encode({16: TYP})


def by(signer: SoftKey, payload: bytes = PAYLOAD) -> Signature:
    return Signature(signer.kid, signer.key.alg, signer.sign(sign_bytes(TYP, signer.key, payload)))


def one(signer: SoftKey) -> Sign1Message:
    value = signer.sign(sign1_bytes(TYP, signer.key, PAYLOAD))
    return Sign1Message(PAYLOAD, TYP, Signature(signer.kid, signer.key.alg, value))


def test_sig_structures_are_those_of_rfc_9052() -> None:
    signer = cbor.encode({1: -7, 4: P256.kid})
    assert cbor.decode(sign_bytes(TYP, P256.key, PAYLOAD)) == ["Signature", EMPTY, signer, b"", PAYLOAD]
    header = cbor.encode({1: -7, 4: P256.kid, 16: TYP})
    assert cbor.decode(sign1_bytes(TYP, P256.key, PAYLOAD)) == ["Signature1", header, b"", PAYLOAD]


SIGNATURES = st.builds(
    Signature, kid=st.binary(min_size=32, max_size=32), alg=st.integers(-300, 300), value=st.binary(max_size=100)
)


@given(st.binary(max_size=300), st.text(max_size=40), st.lists(SIGNATURES, min_size=1, unique_by=lambda s: s.kid))
@settings(max_examples=100, deadline=None)
def test_sign_round_trip(payload: bytes, typ: str, signatures: list[Signature]) -> None:
    message = SignMessage(payload, typ, tuple(sorted(signatures)))
    data = encode_sign(message)
    assert parse_sign(data) == message
    assert encode_sign(SignMessage(payload, typ, tuple(reversed(message.signatures)))) == data


@given(st.binary(max_size=300), st.text(max_size=40), SIGNATURES)
@settings(max_examples=100, deadline=None)
def test_sign1_round_trip(payload: bytes, typ: str, signature: Signature) -> None:
    message = Sign1Message(payload, typ, signature)
    assert parse_sign1(encode_sign1(message)) == message


def signer(header: cbor.Value = None, unprotected: cbor.Value = None, value: cbor.Value = b"s") -> cbor.Value:
    named = cbor.encode({1: -7, 4: KID}) if header is None else header
    return [named, {} if unprotected is None else unprotected, value]


BODIES: dict[str, cbor.Value] = {
    "no array": 1,
    "three items": [EMPTY, {}, PAYLOAD],
    "five items": [EMPTY, {}, PAYLOAD, [signer()], 0],
    "header not wrapped": [{16: TYP}, {}, PAYLOAD, [signer()]],
    "unprotected": [EMPTY, {4: KID}, PAYLOAD, [signer()]],
    "detached payload": [EMPTY, {}, None, [signer()]],
    "no signature": [EMPTY, {}, PAYLOAD, []],
    "too many": [EMPTY, {}, PAYLOAD, [signer()] * (MAX_SIGNATURES + 1)],
    "empty header": [b"", {}, PAYLOAD, [signer()]],
    "another label": [cbor.encode({3: TYP}), {}, PAYLOAD, [signer()]],
    "a further label": [cbor.encode({2: [1], 16: TYP}), {}, PAYLOAD, [signer()]],
    "typ as number": [cbor.encode({16: 1}), {}, PAYLOAD, [signer()]],
    "signer not an array": [EMPTY, {}, PAYLOAD, [1]],
    "signer unprotected": [EMPTY, {}, PAYLOAD, [signer(unprotected={4: KID})]],
    "signer without alg": [EMPTY, {}, PAYLOAD, [signer(cbor.encode({4: KID}))]],
    "signer without kid": [EMPTY, {}, PAYLOAD, [signer(cbor.encode({1: -7}))]],
    "signer with more": [EMPTY, {}, PAYLOAD, [signer(cbor.encode({1: -7, 4: KID, 16: TYP}))]],
    "alg as true": [EMPTY, {}, PAYLOAD, [signer(cbor.encode({1: True, 4: KID}))]],
    "alg as text": [EMPTY, {}, PAYLOAD, [signer(cbor.encode({1: "ES256", 4: KID}))]],
    "short kid": [EMPTY, {}, PAYLOAD, [signer(cbor.encode({1: -7, 4: KID[1:]}))]],
    "signature as text": [EMPTY, {}, PAYLOAD, [signer(value="s")]],
    "not sorted": [EMPTY, {}, PAYLOAD, [signer(), signer(cbor.encode({1: -7, 4: bytes(32)}))]],
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_other_forms_are_refused(body: cbor.Value) -> None:
    with pytest.raises((CoseInvalid, CborInvalid)):
        parse_sign(b"\xd8\x62" + cbor.encode(body))


def test_a_form_that_is_accepted_stands_beside_them() -> None:
    assert len(parse_sign(b"\xd8\x62" + cbor.encode([EMPTY, {}, PAYLOAD, [signer(), signer()]])).signatures) == 2


@pytest.mark.parametrize(
    "body",
    [1, [EMPTY, {}, PAYLOAD, b"s"], [cbor.encode({1: -7, 4: KID, 16: TYP}), {4: KID}, PAYLOAD, b"s"],
     [cbor.encode({1: -7, 4: KID, 16: TYP}), {}, None, b"s"], [cbor.encode({1: -7, 4: KID, 16: 1}), {}, PAYLOAD, b"s"]],
)  # fmt: skip
def test_other_forms_of_sign1_are_refused(body: cbor.Value) -> None:
    with pytest.raises(CoseInvalid):
        parse_sign1(b"\xd2" + cbor.encode(body))


def test_tags_and_sizes() -> None:
    sign, sign1 = encode_sign(SignMessage(PAYLOAD, TYP, (by(P256),))), encode_sign1(one(P256))
    for bad in (sign[2:], sign1, b"", b"\xd9\x00\x62" + sign[2:], sign + b"\0", sign + bytes(MAX_MESSAGE)):
        with pytest.raises((CoseInvalid, CborInvalid)):
            parse_sign(bad)
    for bad in (sign1[1:], sign, b"", sign1 + b"\0"):
        with pytest.raises((CoseInvalid, CborInvalid)):
            parse_sign1(bad)


def test_who_signed() -> None:
    message = SignMessage(PAYLOAD, TYP, tuple(sorted(by(key) for key in ALL)))
    assert verified_kids(message, keys_of(*ALL)) == {key.kid for key in ALL}
    assert verified_kids(message, keys_of(P256, soft_key(9))) == {P256.kid}
    assert verified_kids(message, []) == frozenset()


@pytest.mark.parametrize(
    "changed",
    [{"value": b""}, {"value": bytes(64)}, {"value": by(P256, b"other").value}, {"alg": -35}, {"kid": P384.kid}],
)
def test_what_does_not_verify_does_not_count(changed: dict[str, object]) -> None:
    signature = msgspec.structs.replace(by(P256), **changed)
    assert verified_kids(SignMessage(PAYLOAD, TYP, (signature,)), keys_of(*ALL)) == frozenset()


def test_d8_a_signature_under_an_unknown_kid_counts_for_nobody() -> None:
    alias = msgspec.structs.replace(by(P256), kid=KID)
    assert verified_kids(SignMessage(PAYLOAD, TYP, (alias,)), keys_of(P256)) == frozenset()


def test_typ_is_signed() -> None:
    other = SignMessage(PAYLOAD, TYP + "x", (by(P256),))
    assert verified_kids(other, keys_of(P256)) == frozenset()
    check_typ(TYP, TYP)
    with pytest.raises(TypeMismatch):
        check_typ(other.typ, TYP)


def test_d8_a_key_counts_once_and_garbage_beside_it_does_not_hide_it() -> None:
    garbage = Signature(P256.kid, -7, b"")
    message = SignMessage(PAYLOAD, TYP, (garbage, by(P256), by(P256)))
    assert verified_kids(message, (P256.key, P256.key)) == {P256.kid}


def test_repetitions_and_emptiness_are_not_written() -> None:
    for signatures in ((), (by(P256), by(P256))):
        with pytest.raises(CoseInvalid):
            encode_sign(SignMessage(PAYLOAD, TYP, signatures))


@pytest.mark.parametrize("signer_key", ALL)
def test_sign1_verifies(signer_key: SoftKey) -> None:
    assert verify_sign1(one(signer_key), signer_key.key) == PAYLOAD


def test_sign1_refusals() -> None:
    message = one(P256)
    with pytest.raises(CoseInvalid):
        verify_sign1(message, soft_key(9).key)
    with pytest.raises(CoseInvalid):
        wrong = msgspec.structs.replace(message.signature, alg=-35)
        verify_sign1(msgspec.structs.replace(message, signature=wrong), P256.key)
    for changes in ({"payload": b"x"}, {"typ": "x"}):
        with pytest.raises(SignatureInvalid):
            verify_sign1(msgspec.structs.replace(message, **changes), P256.key)
