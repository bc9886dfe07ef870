"""Issuers' keys: what is read, under which algorithms, and what is not."""

import json
from itertools import count
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

from ceremonies.errors import JwkMalformed
from ceremonies.jwk import MAX_JWKS, RSA_ALGORITHMS, parse_jwk, parse_jwks
from pki.signatures import spki_sha256
from tests.ceremonies.issuer_keys import IssuerSigner, make_signer

EC, RSA, ED = make_signer("ES256", "ec"), make_signer("RS256", "rsa"), make_signer("EdDSA", "ed")


def jwks(*keys: object) -> bytes:
    return json.dumps({"keys": list(keys)}).encode()


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "EdDSA", "RS256", "PS512"])
def test_a_key_is_read_with_its_algorithm_and_its_name(algorithm: str) -> None:
    signer = make_signer(algorithm)
    key = parse_jwk(signer.jwk)
    der = signer.private.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert (key.kid, key.algorithms, key.spki) == ("k1", frozenset({algorithm}), spki_sha256(der))


@pytest.mark.req("AZ-6", "T23")
def test_the_key_type_fixes_the_algorithms_when_the_jwk_names_none() -> None:
    def algorithms(signer: IssuerSigner) -> frozenset[str]:
        return parse_jwk({name: value for name, value in signer.jwk.items() if name != "alg"}).algorithms

    assert algorithms(EC) == {"ES256"}
    assert algorithms(make_signer("ES384")) == {"ES384"}
    assert algorithms(ED) == {"EdDSA"}
    assert algorithms(RSA) == RSA_ALGORITHMS


SMALL = IssuerSigner("small", "RS256", rsa.generate_private_key(65537, 1024))


@pytest.mark.req("AZ-6", "T23")
@pytest.mark.parametrize(
    ("jwk", "why"),
    [
        ({**EC.jwk, "alg": "HS256"}, "does not use"),
        ({**EC.jwk, "alg": "none"}, "does not use"),
        ({**EC.jwk, "alg": "ES384"}, "does not use"),
        ({**EC.jwk, "alg": "RS256"}, "does not use"),
        ({**EC.jwk, "use": "enc"}, "not for signatures"),
        ({**EC.jwk, "d": "AAAA"}, "private"),
        ({"kty": "oct", "k": "c2VjcmV0", "kid": "o"}, "private"),
        ({"kty": "oct", "kid": "o"}, "key type"),
        ({"kty": "AKP", "kid": "o"}, "key type"),
        ({**EC.jwk, "x": EC.jwk["y"]}, "does not parse"),
        ({**EC.jwk, "x": "AAAA"}, "does not parse"),
        ({**EC.jwk, "crv": "P-384"}, "does not parse"),
        ({**EC.jwk, "kid": ""}, "does not parse"),
        ({**EC.jwk, "kid": 7}, "does not parse"),
        ({**EC.jwk, "x": ["a"]}, "does not parse"),
        ({name: value for name, value in EC.jwk.items() if name != "kid"}, "does not parse"),
        ({**RSA.jwk, "n": "A" * 4000}, "does not parse"),
        (SMALL.jwk, "does not use"),
        (make_signer("ES256K").jwk, "does not use"),
        (make_signer("ES512").jwk, "does not use"),
        ({}, "does not parse"),
    ],
)
def test_keys_that_are_refused(jwk: dict[str, Any], why: str) -> None:
    with pytest.raises(JwkMalformed, match=why):
        parse_jwk(jwk)


def test_a_set_keeps_the_keys_that_can_be_used() -> None:
    others = [{"kty": "oct", "kid": "o", "k": "eA"}, {**EC.jwk, "kid": "enc", "use": "enc"}, "junk", SMALL.jwk]
    found = parse_jwks(jwks(EC.jwk, *others, {**RSA.jwk, "x5c": ["MII"], "key_ops": ["verify"]}))
    assert set(found) == {"ec", "rsa"}


@pytest.mark.req("AZ-6", "T22")
@pytest.mark.parametrize(
    ("document", "why"),
    [
        (jwks(), "no usable key"),
        (jwks({"kty": "oct", "kid": "o", "k": "eA"}), "no usable key"),
        (jwks(EC.jwk, {**RSA.jwk, "kid": "ec"}), "two keys"),
        (jwks(EC.jwk, {**RSA.jwk, "d": "AAAA"}), "private"),
        (jwks(*[EC.jwk] * 65), "at most 64 keys"),
        (jwks(EC.jwk) + b" " * MAX_JWKS, "limit"),
        (b'{"keys":{}}', "no list"),
        (b"[]", "no object"),
        (b"<html>", "does not parse"),
        (b'{"keys":[],"keys":[]}', "twice"),
        (b"[" * 60_000, "JWK Set"),
    ],
    ids=count(),  # the same in every worker, although the keys are not
)
def test_sets_that_are_refused(document: bytes, why: str) -> None:
    with pytest.raises(JwkMalformed, match=why):
        parse_jwks(document)


@given(st.dictionaries(st.sampled_from(sorted(EC.jwk)), st.text(max_size=8) | st.integers() | st.none()))
def test_no_members_crash_the_reader(members: dict[str, object]) -> None:
    try:
        parse_jwk({**EC.jwk, **members})
    except JwkMalformed as error:
        assert error.code == "jwk-malformed"
