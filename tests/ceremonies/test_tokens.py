"""Workload tokens: who they prove, and the attacks that they are refused for."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from itertools import count
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st

from ceremonies.errors import BindingMismatch, TokenRefused
from ceremonies.jwk import IssuerKey, index_keys, parse_jwk
from ceremonies.policy import Algorithm, Grant, Issuer, KeysInline, Policy, ReleasePolicy
from ceremonies.tokens import (
    Identity,
    TokenAlgorithmRefused,
    TokenAudienceWrong,
    TokenExpired,
    TokenGrantMissing,
    TokenHeaderRefused,
    TokenIssuerUnknown,
    TokenKeyUnknown,
    TokenMalformed,
    TokenNotYetValid,
    TokenSenderWrong,
    TokenSignatureInvalid,
    TokenTooOld,
    verify_token,
)
from pki.signatures import raw_to_der
from tests.ceremonies.issuer_keys import AUDIENCE, FLEET, ISSUER, NOW, IssuerSigner, b64, make_signer, pipeline_claims

SIGNER, OTHER = make_signer("ES256", "k1"), make_signer("ES256", "k1")
RSA = make_signer("RS256", "r1")
STATION = make_signer("EdDSA", "s1")
CERTIFICATE = hashlib.sha256(b"client certificate").hexdigest()
PIPELINE = Grant(
    role="pipeline",
    claims={"repository_id": "4711", "repository_owner_id": "42"},
    bind={"class": "class", "channel": "channels"},
)
ISSUERS = (
    Issuer(ISSUER, AUDIENCE, ("ES256", "RS256"), 300, KeysInline((SIGNER.jwk, RSA.jwk)), (PIPELINE,)),
    Issuer(
        "station-7",
        AUDIENCE,
        ("EdDSA",),
        600,
        KeysInline((STATION.jwk,)),
        (Grant("station", {"sub": "station-7"}, fixed={"plant": ("graz",), "class": ("bms-stm32h7", "pcs")}),),
    ),
)
RELEASE = ReleasePolicy(
    class_name="bms-stm32h7",
    channel="stable",
    component=1,
    format="mcuboot",
    image_role="image-app",
    claims=({"environment": "release"},),
    hardware=((1, 1),),
    slot_bytes=1,
    floor=0,
    max_step=1,
    min_validity_days=0,
)
POLICY = Policy(quorums={}, fleet=FLEET, issuers=ISSUERS, releases=(RELEASE,))


class InlineSource:
    """The keys that the policy holds itself."""

    def keys(self, issuer: Issuer, now: datetime) -> Mapping[str, IssuerKey]:
        assert isinstance(issuer.jwks, KeysInline)
        return index_keys(parse_jwk(key) for key in issuer.jwks.keys)


def verify(token: str, policy: Policy = POLICY, now: datetime = NOW, certificate: str = "") -> Identity:
    return verify_token(token, policy, now, InlineSource(), certificate)


def with_issuer(**changes: Any) -> Policy:
    """The policy with its first issuer changed."""
    return msgspec.structs.replace(POLICY, issuers=(msgspec.structs.replace(ISSUERS[0], **changes),))


def forge(header: dict[str, Any] | bytes, claims: dict[str, Any] | bytes, sign: Callable[[bytes], bytes]) -> str:
    """A compact JWS from parts that a library would refuse to put together."""
    parts = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, claims)]
    signed = f"{b64(parts[0])}.{b64(parts[1])}"
    return f"{signed}.{b64(sign(signed.encode()))}"


def test_a_pipeline_is_known_by_its_claims() -> None:
    identity = verify(SIGNER.issue(environment="release", actor="jane.doe"))
    assert (identity.role, identity.issuer, identity.jti) == ("pipeline", ISSUER, "7f3c2a10")
    assert identity.bindings == {"class": ("bms-stm32h7",), "channel": ("stable", "beta")}
    # Claims that no rule names, personal names among them, go no further.
    assert identity.claims == {
        "class": "bms-stm32h7",
        "environment": "release",
        "repository_id": "4711",
        "repository_owner_id": "42",
    }
    assert identity.cred == parse_jwk(SIGNER.jwk).spki
    assert identity.expires == NOW + timedelta(seconds=240)


def test_the_subject_is_a_stable_pseudonym() -> None:
    first, same = verify(SIGNER.issue(jti="a")), verify(SIGNER.issue(jti="b"))
    assert first.sub == same.sub != verify(SIGNER.issue(sub="someone else")).sub
    assert len(first.sub) == 32
    assert "acme" not in first.sub


def test_what_a_station_may_do_stands_in_the_policy_not_in_its_token() -> None:
    identity = verify(STATION.issue(iss="station-7", sub="station-7", plant="shenzhen"))
    assert identity.bindings == {"plant": ("graz",), "class": ("bms-stm32h7", "pcs")}
    identity.require("class", "pcs")
    assert identity.only("plant") == "graz"


@pytest.mark.req("AZ-4", "T1")
def test_a_request_beyond_the_bindings_is_refused() -> None:
    identity = verify(STATION.issue(iss="station-7", sub="station-7"))
    for name, value in [("plant", "shenzhen"), ("class", "ems"), ("line", "1"), ("plant", "")]:
        with pytest.raises(BindingMismatch):
            identity.require(name, value)
    for name in ("class", "line"):
        with pytest.raises(BindingMismatch):
            identity.only(name)


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "EdDSA", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512"])
def test_every_algorithm_of_the_policy_verifies(algorithm: Algorithm) -> None:
    signer = make_signer(algorithm)
    policy = with_issuer(algorithms=(algorithm,), jwks=KeysInline((signer.jwk,)))
    assert verify(signer.issue(), policy).cred == parse_jwk(signer.jwk).spki


# ---- the attack corpus of AZ-6 and T23 ----


def es256(data: bytes) -> bytes:
    return base64.urlsafe_b64decode(jws_signature(SIGNER, data) + "==")


def jws_signature(signer: IssuerSigner, data: bytes) -> str:
    from jwt.algorithms import get_default_algorithms

    return b64(get_default_algorithms()[signer.algorithm].sign(data, signer.private))


def pem(signer: IssuerSigner) -> bytes:
    return signer.private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


@pytest.mark.req("AZ-6", "T23")
@pytest.mark.parametrize("name", ["none", "None", "NONE", "nOnE", ""])
@pytest.mark.parametrize("signature", [b"", b"x"])
def test_unsigned_tokens_are_refused(name: str, signature: bytes) -> None:
    with pytest.raises((TokenAlgorithmRefused, TokenMalformed)):
        verify(forge({"alg": name, "kid": "k1"}, pipeline_claims(), lambda _: signature))


@pytest.mark.req("AZ-6", "T23")
@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
@pytest.mark.parametrize("signer", [SIGNER, RSA])
def test_a_public_key_is_no_shared_secret(algorithm: str, signer: IssuerSigner) -> None:
    der = signer.private.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    jwk = signer.jwk
    secrets = [pem(signer), pem(signer).strip(), der, json.dumps(jwk).encode()]
    secrets += [json.dumps(jwk, separators=(",", ":"), sort_keys=True).encode(), b"", jwk.get("x", "").encode()]
    for secret in secrets:
        sign = lambda data, secret=secret: hmac.digest(secret, data, "sha" + algorithm[2:])  # noqa: E731 - bound per loop
        with pytest.raises(TokenAlgorithmRefused):
            verify(forge({"alg": algorithm, "kid": signer.kid}, pipeline_claims(), sign))


@pytest.mark.req("AZ-6", "T23")
def test_an_algorithm_of_another_key_type_or_another_issuer_is_refused() -> None:
    for header in ({"alg": "RS256", "kid": "k1"}, {"alg": "ES256", "kid": "r1"}):
        with pytest.raises(TokenAlgorithmRefused, match="is not for"):
            verify(forge(header, pipeline_claims(), es256))
    for algorithm in ("ES384", "PS256", "EdDSA", "ES256K", "es256"):
        with pytest.raises(TokenAlgorithmRefused, match=r"uses ES256, RS256"):
            verify(forge({"alg": algorithm, "kid": "k1"}, pipeline_claims(), es256))


@pytest.mark.req("AZ-6", "T22", "T23")
@pytest.mark.parametrize(
    "extra",
    [
        {"jku": "https://evil.example/jwks"},
        {"jku": "http://169.254.169.254/latest/meta-data"},
        {"x5u": "https://evil.example/cert"},
        {"x5c": ["MIIB"]},
        {"jwk": OTHER.jwk},
        {"crit": ["exp"]},
        {"crit": ["b64"], "b64": False},
        {"crit": []},
        {"b64": True},
        {"zip": "DEF"},
        {"cty": "JWT"},
        {"enc": "A256GCM"},
        {"ALG": "none"},
        {"unknown": 1},
    ],
)
def test_header_parameters_that_bring_keys_or_rules_are_refused(extra: dict[str, Any]) -> None:
    for sign in (es256, lambda data: base64.urlsafe_b64decode(jws_signature(OTHER, data) + "==")):
        with pytest.raises(TokenHeaderRefused):
            verify(forge({"alg": "ES256", "kid": "k1", **extra}, pipeline_claims(), sign))


@pytest.mark.req("AZ-6", "T23")
@pytest.mark.parametrize(
    "kid",
    ["../../../etc/passwd", "/dev/null", "k1\0", "K1", " k1", "k2", "' OR 1=1 --", "http://evil.example/k1", "x" * 512],
)
def test_a_kid_is_looked_up_and_nothing_else(kid: str) -> None:
    with pytest.raises(TokenKeyUnknown):
        verify(forge({"alg": "ES256", "kid": kid}, pipeline_claims(), es256))


@pytest.mark.req("AZ-6")
@pytest.mark.parametrize("kid", [None, "", 1, ["k1"], {"k": 1}, "x" * 513])
def test_a_kid_must_be_text(kid: object) -> None:
    with pytest.raises(TokenMalformed):
        verify(forge({"alg": "ES256", "kid": kid}, pipeline_claims(), es256))
    with pytest.raises(TokenMalformed):
        verify(forge({"alg": "ES256"}, pipeline_claims(), es256))


@pytest.mark.req("AZ-6", "T23")
def test_a_forged_or_changed_token_is_refused() -> None:
    with pytest.raises(TokenSignatureInvalid):
        verify(OTHER.issue())
    head, body, tail = SIGNER.issue().split(".")
    changed = b64(json.dumps(pipeline_claims(repository_id="4711", jti="other")).encode())
    for token in (f"{head}.{changed}.{tail}", f"{head}.{body}.{tail[:-8]}", f"{head}.{body}.{b64(bytes(64))}"):
        with pytest.raises(TokenSignatureInvalid):
            verify(token)
    # The same signature in DER: JWS has raw r || s only.
    der = raw_to_der(base64.urlsafe_b64decode(tail + "=="))
    with pytest.raises(TokenSignatureInvalid):
        verify(f"{head}.{body}.{b64(der)}")


@pytest.mark.req("AZ-6")
@pytest.mark.parametrize(
    "audience",
    ["https://kedge.example/", "https://KEDGE.example", "other", "", [], [AUDIENCE, "other"], [[AUDIENCE]], 7, None],
)
def test_the_audience_is_ours_alone(audience: object) -> None:
    with pytest.raises(TokenAudienceWrong):
        verify(SIGNER.issue(aud=audience) if isinstance(audience, str) else forge_claims(aud=audience))


def forge_claims(**changes: Any) -> str:
    """A token that the issuer signs whatever it says; `None` leaves a claim out."""
    return forge({"alg": "ES256", "kid": "k1"}, pipeline_claims(**changes), es256)


def test_an_audience_list_of_one_is_that_one() -> None:
    assert verify(forge_claims(aud=[AUDIENCE])).role == "pipeline"


@pytest.mark.req("AZ-6")
def test_the_issuer_is_exactly_one_of_the_policy() -> None:
    for issuer in (ISSUER + "/", ISSUER.upper(), "https://evil.example", "http://ci.example"):
        with pytest.raises(TokenIssuerUnknown):
            verify(forge_claims(iss=issuer))
    # An issuer's key verifies that issuer's tokens only.
    with pytest.raises(TokenAlgorithmRefused):
        verify(forge_claims(iss="station-7", sub="station-7"))
    with pytest.raises(TokenIssuerUnknown):
        verify(SIGNER.issue(), Policy(quorums={}, fleet=FLEET))


AT = int(NOW.timestamp())


@pytest.mark.req("AZ-6", "T1")
@pytest.mark.parametrize(
    ("claims", "error"),
    [
        ({"exp": AT}, TokenExpired),
        ({"exp": AT - 1}, TokenExpired),
        ({"exp": 0}, TokenExpired),
        ({"iat": AT - 301, "nbf": AT - 301, "exp": AT + 60}, TokenTooOld),
        ({"iat": AT - 86_400, "nbf": AT - 86_400, "exp": AT + 86_400}, TokenTooOld),
        ({"iat": AT + 6, "nbf": None}, TokenNotYetValid),
        ({"nbf": AT + 6}, TokenNotYetValid),
        ({"exp": None}, TokenMalformed),
        ({"iat": None}, TokenMalformed),
        ({"exp": str(AT + 60)}, TokenMalformed),
        ({"exp": AT + 60.5}, TokenMalformed),
        ({"exp": True}, TokenMalformed),
        ({"exp": 10**12}, TokenMalformed),
        ({"exp": 10**400}, TokenMalformed),
        ({"iat": -1}, TokenMalformed),
        ({"nbf": "now"}, TokenMalformed),
    ],
)
def test_times(claims: dict[str, Any], error: type[TokenRefused]) -> None:
    with pytest.raises(error):
        verify(forge_claims(**claims))


def test_the_bounds_of_age_and_skew() -> None:
    oldest = verify(forge_claims(iat=AT - 300, nbf=AT - 300, exp=AT + 1))
    assert oldest.expires == NOW
    assert verify(forge_claims(iat=AT + 5, nbf=None, exp=AT + 900)).expires == NOW + timedelta(seconds=305)
    assert verify(forge_claims(nbf=AT + 5)).role == "pipeline"


@pytest.mark.req("AZ-6")
@pytest.mark.parametrize("claim", ["jti", "sub", "iss"])
@pytest.mark.parametrize("value", [None, "", 7, ["x"], "x" * 513])
def test_claims_that_every_token_needs(claim: str, value: object) -> None:
    with pytest.raises(TokenMalformed, match=claim):
        verify(forge_claims(**{claim: value}))


@pytest.mark.parametrize("value", ["x\0", "x\n", "\u202ex"])
def test_a_token_id_is_printable(value: str) -> None:
    """It is reserved by name; PostgreSQL takes no NUL, and one order must not fail its batch."""
    with pytest.raises(TokenMalformed, match="jti"):
        verify(forge_claims(jti=value))


@pytest.mark.req("AZ-6", "T1")
@pytest.mark.parametrize(
    "claims",
    [
        {"repository_id": "4712"},
        {"repository_id": 4711},
        {"repository_id": None},
        {"repository_owner_id": "43"},
        {"repository_id": ["4711"]},
        {"class": None},
        {"class": ""},
        {"class": []},
        {"class": True},
        {"class": {"a": 1}},
        {"channels": ["stable", None]},
    ],
)
def test_a_genuine_token_of_somebody_else_gets_no_role(claims: dict[str, Any]) -> None:
    with pytest.raises(TokenGrantMissing):
        verify(forge_claims(**claims))


def test_two_grants_that_fit_are_none() -> None:
    broad = Grant("operator", {"repository_id": "4711"})
    with pytest.raises(TokenGrantMissing, match="2 grants"):
        verify(SIGNER.issue(), with_issuer(grants=(PIPELINE, broad)))
    with pytest.raises(TokenGrantMissing, match="0 grants"):
        verify(SIGNER.issue(), with_issuer(grants=()))


def cnf(certificate: str) -> dict[str, str]:
    return {"x5t#S256": b64(bytes.fromhex(certificate))}


@pytest.mark.req("T1")
def test_a_token_for_a_client_certificate_counts_on_its_connection_only() -> None:
    bound = SIGNER.issue(cnf=cnf(CERTIFICATE))
    assert verify(bound, certificate=CERTIFICATE).role == "pipeline"
    constrained = with_issuer(sender_constrained=True)
    assert verify(bound, constrained, certificate=CERTIFICATE).role == "pipeline"
    other = hashlib.sha256(b"other").hexdigest()
    for token, policy, certificate in [
        (bound, POLICY, ""),
        (bound, POLICY, other),
        (SIGNER.issue(), constrained, CERTIFICATE),
        (SIGNER.issue(), constrained, ""),
        (SIGNER.issue(cnf={"jkt": "x"}), POLICY, CERTIFICATE),
        (SIGNER.issue(cnf={**cnf(CERTIFICATE), "jkt": "x"}), POLICY, CERTIFICATE),
        (SIGNER.issue(cnf={"x5t#S256": ""}), POLICY, ""),
        (SIGNER.issue(cnf={}), POLICY, ""),
        (bound, POLICY, "no hex"),
    ]:
        with pytest.raises(TokenSenderWrong):
            verify(token, policy, certificate=certificate)


@pytest.mark.req("AZ-6")
@pytest.mark.parametrize(
    "token",
    [
        "",
        "a",
        "a.b",
        "a.b.",
        "..",
        "a.b.c.d",
        "Bearer " + SIGNER.issue(),
        SIGNER.issue() + "=",
        SIGNER.issue() + "\n",
        SIGNER.issue().replace(".", ". "),
        SIGNER.issue(padding="x" * 8192),
        forge({"alg": "ES256", "kid": "k1"}, pipeline_claims(), lambda _: b"x" * 8192),
        forge(b"[]", pipeline_claims(), es256),
        forge(b'{"alg":"ES256","alg":"none","kid":"k1"}', pipeline_claims(), es256),
        forge({"alg": "ES256", "kid": "k1"}, b'{"iss":"a","iss":"b"}', es256),
        forge({"alg": "ES256", "kid": "k1"}, b"[" * 4000, es256),
        forge({"alg": "ES256", "kid": "k1"}, b'{"exp":NaN}', es256),
        forge({"alg": "ES256", "kid": "k1"}, b"\xff", es256),
        forge({"alg": 256, "kid": "k1"}, pipeline_claims(), es256),
        "ö" + SIGNER.issue(),
    ],
    ids=count(),  # the same in every worker, although the keys are not
)
def test_malformed_tokens_are_refused(token: str) -> None:
    with pytest.raises(TokenMalformed):
        verify(token)


def test_spare_bits_of_base64_are_no_second_token() -> None:
    head, body, tail = SIGNER.issue().split(".")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    twin = tail[:-1] + alphabet[alphabet.index(tail[-1]) ^ 1]
    assert base64.urlsafe_b64decode(twin + "==") == base64.urlsafe_b64decode(tail + "==")
    with pytest.raises(TokenSignatureInvalid):
        verify(f"{head}.{body}.{twin}")


@given(st.dictionaries(st.sampled_from([*pipeline_claims(), "cnf"]), st.none() | st.integers() | st.text(max_size=5)))
def test_no_claims_raise_anything_but_a_refusal(changes: dict[str, Any]) -> None:
    claims = {**pipeline_claims(), **changes}
    try:
        verify(forge({"alg": "ES256", "kid": "k1"}, claims, es256))
    except TokenRefused as error:
        assert error.code.startswith("token-")


@given(st.text(max_size=60))
def test_no_text_raises_anything_but_a_refusal(text: str) -> None:
    with pytest.raises(TokenRefused):
        verify(text)
