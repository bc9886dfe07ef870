"""Workload tokens: JWTs (RFC 7519) of the issuers that the signed policy names, verified by the keyroom itself.

Follows RFC 8725 (best current practices): algorithms fixed per issuer and per key, no key from the token's header.
"""

import base64
import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, NoReturn, Protocol, get_args

import msgspec
from jwt import PyJWS
from jwt.exceptions import PyJWTError

from ceremonies.errors import BindingMismatch, PolicyRefuses, TokenRefused
from ceremonies.jwk import IssuerKey
from ceremonies.policy import Algorithm, Claim, Grant, Issuer, Policy, Role, claims_match
from pki.jcs import JsonMalformed, jcs, parse_object

MAX_TOKEN: Final = 8192
# Between the issuer's clock and ours, for `iat` and `nbf` only; `exp` is taken as it stands.
MAX_SKEW: Final = timedelta(seconds=5)
# Every other header parameter is refused: jku, x5u, jwk, x5c bring keys; crit, b64, zip, enc change what is verified.
HEADERS: Final = frozenset({"alg", "kid", "typ", "x5t", "x5t#S256"})

_SHAPE = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_JWS = PyJWS(algorithms=get_args(Algorithm))


class TokenMalformed(TokenRefused):
    """Not a compact JWS of strict JSON, or a claim is missing or has the wrong type."""

    code = "token-malformed"


class TokenHeaderRefused(TokenRefused):
    """The header has a parameter that Kedge does not take."""

    code = "token-header-refused"


class TokenIssuerUnknown(TokenRefused):
    """The policy does not name the issuer."""

    code = "token-issuer-unknown"


class TokenAlgorithmRefused(TokenRefused):
    """The algorithm is not one of the issuer's, or not one of the key's."""

    code = "token-algorithm-refused"


class TokenKeyUnknown(TokenRefused):
    """The issuer (`details["issuer"]`) has no key with this kid: refresh its keys once, then refuse."""

    code = "token-key-unknown"


class TokenSignatureInvalid(TokenRefused):
    """The signature does not verify."""

    code = "token-signature-invalid"


class TokenAudienceWrong(TokenRefused):
    """The token is meant for somebody else, or for others too."""

    code = "token-audience-wrong"


class TokenExpired(TokenRefused):
    """`exp` is past."""

    code = "token-expired"


class TokenTooOld(TokenRefused):
    """`iat` is further back than the policy allows."""

    code = "token-too-old"


class TokenNotYetValid(TokenRefused):
    """`iat` or `nbf` lies in the future."""

    code = "token-not-yet-valid"


class TokenSenderWrong(TokenRefused):
    """The token belongs to another client certificate, or to none where one is demanded (RFC 8705)."""

    code = "token-sender-wrong"


class TokenGrantMissing(TokenRefused):
    """The token is genuine, but the policy grants its claims no role, or more than one."""

    code = "token-grant-missing"


class Identity(msgspec.Struct, frozen=True):
    """Who asks, as a token proves it (made by `verify_token` only), or a client certificate: no token makes a device.

    sub: stable pseudonym, hex of a hash over issuer and subject. jti: unique per issuer; a sign request reserves it.
    cred: SPKI SHA-256 of the key that signed the token. expires: when it stops counting, by `exp` and by age.
    bindings: what the grant ties this role to (`plant`, `class`, `channel`, `station`, `officer`, ...).
    claims: those that the policy names, for release policies.
    """

    role: Role | Literal["device"]
    sub: str
    issuer: str
    jti: str
    cred: str
    expires: datetime
    bindings: Mapping[str, tuple[str, ...]]
    claims: Mapping[str, Claim]

    def require(self, name: str, value: str) -> None:
        """Refuse a request for another `value` than the token is bound to. Raises BindingMismatch; unbound refuses."""
        bound = self.bindings.get(name, ())
        if value not in bound:
            raise BindingMismatch(
                f"{self.role} is bound to {name} {', '.join(bound) or '(none)'}, the request is for {value[:64]}",
                details={"binding": name, "bound": list(bound)},
            )

    def only(self, name: str) -> str:
        """The single value of a binding. Raises BindingMismatch when there is none, or more than one."""
        bound = self.bindings.get(name, ())
        if len(bound) != 1:
            raise BindingMismatch(f"{self.role} is bound to {len(bound)} values of {name}, one is expected")
        return bound[0]


class JwksSource(Protocol):
    """Where verification reads an issuer's keys (`ceremonies.jwks.JwksCache`)."""

    def keys(self, issuer: Issuer, now: datetime) -> Mapping[str, IssuerKey]:
        """The issuer's keys by kid. Raises JwksUnavailable."""


def verify_token(token: str, policy: Policy, now: datetime, jwks: JwksSource, client_certificate: str = "") -> Identity:
    """Verify a token and find its role.

    1. Size, three base64url segments, strict JSON. 2. Header parameters. 3. Issuer, named by the policy. 4. Algorithm
    and key, both fixed by the issuer. 5. Signature (PyJWT). 6. Audience and times. 7. Sender: `client_certificate` is
    the lowercase hex SHA-256 of the DER certificate on the connection. 8. Exactly one grant fits.
    Raises a leaf of TokenRefused, or JwksUnavailable.
    """
    # 1
    if len(token) > MAX_TOKEN or not _SHAPE.fullmatch(token):
        raise TokenMalformed(f"token is no compact JWS of at most {MAX_TOKEN} characters")
    header, claims = (_parse_segment(segment) for segment in token.split(".")[:2])
    # 2
    surplus = sorted(header.keys() - HEADERS)
    if surplus:
        raise TokenHeaderRefused(f"token header has {', '.join(surplus)[:80]}")
    # 3
    try:
        issuer = policy.issuer_of(_text(claims, "iss"))
    except PolicyRefuses as error:
        raise TokenIssuerUnknown(error.message) from error
    # 4, 5
    key = _find_key(header, jwks.keys(issuer, now), issuer)
    try:
        _JWS.decode_complete(token, key.key, algorithms=[_text(header, "alg")])
    except PyJWTError as error:
        raise TokenSignatureInvalid(f"token does not verify under key {key.kid!r} of {issuer.issuer}") from error
    # 6, 7, 8
    expires = _check_times(claims, issuer, now)
    _check_sender(claims, issuer, client_certificate)
    grant, bindings = _find_grant(claims, issuer)
    return Identity(
        role=grant.role,
        sub=hashlib.sha256(jcs([issuer.issuer, _text(claims, "sub")])).hexdigest()[:32],
        issuer=issuer.issuer,
        jti=_printable(claims, "jti"),
        cred=key.spki,
        expires=expires,
        bindings=bindings,
        claims=_select_claims(claims, grant, policy),
    )


def _find_key(header: dict[str, Any], keys: Mapping[str, IssuerKey], issuer: Issuer) -> IssuerKey:
    algorithm, kid = _text(header, "alg"), _text(header, "kid")
    if algorithm not in issuer.algorithms:
        raise TokenAlgorithmRefused(
            f"token has algorithm {algorithm[:16]!r}, {issuer.issuer} uses {', '.join(issuer.algorithms)}"
        )
    key = keys.get(kid)
    if key is None:
        raise TokenKeyUnknown(f"issuer {issuer.issuer} has no key {kid[:64]!r}", details={"issuer": issuer.issuer})
    if algorithm not in key.algorithms:
        raise TokenAlgorithmRefused(f"key {kid!r} is not for {algorithm}")
    return key


def _check_times(claims: dict[str, Any], issuer: Issuer, now: datetime) -> datetime:
    audience = claims.get("aud")
    if audience not in (issuer.audience, [issuer.audience]):
        raise TokenAudienceWrong(f"token is for {str(audience)[:80]!r}, {issuer.audience!r} is expected")
    issued, ends = _time(claims, "iat"), _time(claims, "exp")
    starts = _time(claims, "nbf") if "nbf" in claims else issued
    if max(issued, starts) > now + MAX_SKEW:
        raise TokenNotYetValid("token is issued or valid in the future", hint="check the clocks")
    if now >= ends:
        raise TokenExpired(f"token expired at {ends:%Y-%m-%dT%H:%M:%SZ}", hint="get a new token")
    oldest = issued + timedelta(seconds=issuer.max_age_s)
    if now > oldest:
        raise TokenTooOld(f"token is older than {issuer.max_age_s} s", hint="get a new token just before the request")
    return min(ends, oldest)


def _check_sender(claims: dict[str, Any], issuer: Issuer, client_certificate: str) -> None:
    if "cnf" not in claims and not issuer.sender_constrained:
        return
    presented = bytes.fromhex(client_certificate) if _SHA256.fullmatch(client_certificate) else b""
    wanted = base64.urlsafe_b64encode(presented).decode().rstrip("=")
    if not presented or claims.get("cnf") != {"x5t#S256": wanted}:
        raise TokenSenderWrong("token is not for the client certificate of this connection")


def _find_grant(claims: dict[str, Any], issuer: Issuer) -> tuple[Grant, dict[str, tuple[str, ...]]]:
    fitting = [grant for grant in issuer.grants if claims_match(grant.claims, claims)]
    if len(fitting) != 1:
        raise TokenGrantMissing(f"{len(fitting)} grants of issuer {issuer.issuer} fit the token, one is expected")
    grant = fitting[0]
    bindings = {name: _bound_values(claims, claim) for name, claim in grant.bind.items()}
    return grant, {**bindings, **grant.fixed}


def _bound_values(claims: dict[str, Any], name: str) -> tuple[str, ...]:
    value = claims.get(name)
    values = value if isinstance(value, list) else [value]
    if not values or not all(type(item) in (str, int) and item != "" for item in values):
        raise TokenGrantMissing(f"claim {name!r} binds the role and is missing, or no text or number")
    return tuple(str(item) for item in values)


def _select_claims(claims: dict[str, Any], grant: Grant, policy: Policy) -> dict[str, Claim]:
    names = {*grant.claims, *grant.bind.values()}
    names.update(name for rule in policy.releases for alternative in rule.claims for name in alternative)
    return {name: claims[name] for name in sorted(names) if type(claims.get(name)) in (str, int, bool)}


def _parse_segment(segment: str) -> dict[str, Any]:
    try:
        return parse_object(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)), MAX_TOKEN)
    except (ValueError, JsonMalformed) as error:
        raise TokenMalformed(f"token segment does not parse: {error}") from error


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not 1 <= len(value) <= 512:
        _refuse_claim(name)
    return value


def _printable(claims: dict[str, Any], name: str) -> str:
    """It becomes part of a reserved name, and not every database keeps every character."""
    value = _text(claims, name)
    if not value.isprintable():
        _refuse_claim(name)
    return value


def _time(claims: dict[str, Any], name: str) -> datetime:
    value = claims.get(name)
    if type(value) is not int or not 0 <= value < 1 << 34:
        _refuse_claim(name)
    return datetime.fromtimestamp(value, UTC)


def _refuse_claim(name: str) -> NoReturn:
    raise TokenMalformed(f"token has no valid {name}")
