"""Tokens that were verified, remembered while nothing has changed that they were verified against.

A station shows one token for minutes. What is remembered is the SHA-256 of the token
and of the client certificate beside it, not the token. It counts under
the same policy and the same keys of its issuer only, from the time at which it was verified until it expires.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from datetime import datetime
from typing import Final

import msgspec

from ceremonies.errors import KeyroomError
from ceremonies.jwk import IssuerKey
from ceremonies.policy import Policy
from ceremonies.tokens import Identity, JwksSource, verify_token

LIMIT: Final = 1024


class Sight(msgspec.Struct, frozen=True):
    """A token's identity, and what it was verified against."""

    identity: Identity
    policy: Policy
    keys: Mapping[str, IssuerKey]
    since: datetime


class Remembered:
    """Verifies tokens; at most `LIMIT` of them are remembered, those that were seen last."""

    def __init__(self, jwks: JwksSource) -> None:
        self._jwks = jwks
        self._sights: OrderedDict[bytes, Sight] = OrderedDict()

    def verify(self, token: str, policy: Policy, now: datetime, certificate: str = "") -> Identity:
        """As `verify_token`; certificate: hex SHA-256 of the client's, or nothing. Raises what that raises."""
        digest = hashlib.sha256(f"{certificate} {token}".encode()).digest()
        sight = self._sights.get(digest)
        if sight is not None:
            if self._counts(sight, policy, now):
                self._sights.move_to_end(digest)
                return sight.identity
            del self._sights[digest]
        identity = verify_token(token, policy, now, self._jwks, certificate)
        keys = self._jwks.keys(policy.issuer_of(identity.issuer), now)
        self._sights[digest] = Sight(identity, policy, keys, now)
        if len(self._sights) > LIMIT:
            self._sights.popitem(last=False)
        return identity

    def _counts(self, sight: Sight, policy: Policy, now: datetime) -> bool:
        """Whether every check would end as it did. The clock may go back, before a token's beginning."""
        if policy is not sight.policy or not sight.since <= now < sight.identity.expires:
            return False
        try:
            return self._jwks.keys(policy.issuer_of(sight.identity.issuer), now) is sight.keys
        except KeyroomError:  # the keys are too old by now: the full verification says so
            return False
