"""Tokens that were verified: remembered as long as nothing changes, and not a moment longer."""

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import msgspec
import pytest

from ceremonies import remembered as module
from ceremonies.errors import JwksUnavailable
from ceremonies.jwk import IssuerKey, parse_jwk
from ceremonies.jwks import JwksCache
from ceremonies.policy import Issuer
from ceremonies.remembered import Remembered
from ceremonies.tokens import (
    TokenExpired,
    TokenKeyUnknown,
    TokenNotYetValid,
    TokenSignatureInvalid,
    verify_token,
)
from tests.ceremonies.issuer_keys import make_signer
from tests.world import AUDIENCE, CLASS, ISSUER, PLANT, make_policy

NOW = datetime(2026, 7, 1, 12, 0, tzinfo=UTC)
SIGNER = make_signer()
POLICY = make_policy(SIGNER.jwk)


class Keys:
    """An issuer's keys as they are now, and how often a token was really verified with them."""

    def __init__(self) -> None:
        self.now: Mapping[str, IssuerKey] | None = {SIGNER.kid: parse_jwk(SIGNER.jwk)}
        self.asked = 0

    def keys(self, issuer: Issuer, now: datetime) -> Mapping[str, IssuerKey]:
        assert issuer.issuer == ISSUER
        assert now.tzinfo is UTC
        self.asked += 1
        if self.now is None:
            raise JwksUnavailable("too old", details={"issuer": ISSUER})
        return self.now


def token(**claims: Any) -> str:
    now = int(NOW.timestamp())
    body = {
        "iss": ISSUER, "aud": AUDIENCE, "sub": "station-1", "jti": secrets.token_hex(8), "role": "station",
        "plant": PLANT, "class": CLASS, "iat": now, "nbf": now, "exp": now + 300, **claims,
    }  # fmt: skip
    return jwt.encode(body, SIGNER.private, "ES256", {"kid": SIGNER.kid})


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tokens that were verified in full."""
    found: list[str] = []
    verify = verify_token

    def watch(given: str, *rest: Any) -> Any:
        found.append(given)
        return verify(given, *rest)

    monkeypatch.setattr(module, "verify_token", watch)
    return found


@pytest.mark.req("AZ-6")
def test_a_token_is_verified_once_and_again_when_it_ends(verified: list[str]) -> None:
    tokens, shown = Remembered(Keys()), token()
    first = tokens.verify(shown, POLICY, NOW)
    assert tokens.verify(shown, POLICY, NOW + timedelta(seconds=299)) is first
    assert len(verified) == 1
    with pytest.raises(TokenExpired):
        tokens.verify(shown, POLICY, NOW + timedelta(seconds=300))
    with pytest.raises(TokenExpired):
        tokens.verify(shown, POLICY, NOW + timedelta(seconds=301))


@pytest.mark.req("AZ-6")
def test_a_clock_that_goes_back_is_no_way_around_the_beginning(verified: list[str]) -> None:
    tokens, shown = Remembered(Keys()), token()
    tokens.verify(shown, POLICY, NOW)
    with pytest.raises(TokenNotYetValid):
        tokens.verify(shown, POLICY, NOW - timedelta(seconds=6))
    assert len(verified) == 2


@pytest.mark.req("AZ-6", "T23")
def test_another_policy_or_other_keys_mean_another_verification(verified: list[str]) -> None:
    keys = Keys()
    tokens, shown = Remembered(keys), token()
    tokens.verify(shown, POLICY, NOW)
    tokens.verify(shown, msgspec.structs.replace(POLICY), NOW)
    assert len(verified) == 2
    keys.now = dict(keys.now or {})
    tokens.verify(shown, POLICY, NOW)
    assert len(verified) == 3
    keys.now = {}
    with pytest.raises(TokenKeyUnknown):
        tokens.verify(shown, POLICY, NOW)
    keys.now = None
    with pytest.raises(JwksUnavailable):
        tokens.verify(shown, POLICY, NOW)


@pytest.mark.req("T23")
def test_a_token_that_differs_in_a_byte_is_another(verified: list[str]) -> None:
    tokens, shown = Remembered(Keys()), token()
    tokens.verify(shown, POLICY, NOW)
    flipped = shown[:-4] + ("AAAA" if shown[-4:] != "AAAA" else "BBBB")
    with pytest.raises(TokenSignatureInvalid):
        tokens.verify(flipped, POLICY, NOW)
    assert len(verified) == 2


def test_so_many_are_remembered(verified: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIMIT", 2)
    tokens, shown = Remembered(Keys()), [token() for _ in range(3)]
    for item in (shown[0], shown[1], shown[0], shown[2], shown[0], shown[1]):
        tokens.verify(item, POLICY, NOW)
    assert verified == [shown[0], shown[1], shown[2], shown[1]]
    assert len(tokens._sights) == 2


def test_keys_that_stand_in_the_policy_are_the_same_as_long_as_it_is() -> None:
    cache = JwksCache()
    (issuer,) = POLICY.issuers
    again = make_policy(SIGNER.jwk).issuers[0]
    assert cache.keys(issuer, NOW) is cache.keys(issuer, NOW)
    assert cache.keys(again, NOW) is not cache.keys(issuer, NOW)
    assert cache.keys(again, NOW) == cache.keys(issuer, NOW)
