"""The signed policy document: who approves what, whose tokens count, what may be released. Empty means no."""

import hashlib
import re
from functools import cached_property
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from ceremonies.approvals import Assurance, QuorumRule
from ceremonies.errors import JwkMalformed, PolicyMalformed, PolicyRefuses
from ceremonies.fleet import Fleet
from ceremonies.jwk import index_keys, parse_jwk
from ceremonies.officers import NO_APPROVAL, Roster
from pki.jcs import JsonMalformed, jcs, parse_jcs

MAX_POLICY: Final = 1 << 20

# Kinds that may be sealed without an officer, because a work order, a release rule or a delegation stands before them.
UNATTENDED: Final = re.compile(
    r"certificate\.(idevid|ieee2030-5-device|ldevid|station-tls)|image\.[a-z0-9-]+|fw-manifest|release-manifest|"
    r"challenge|head-statement|crl"
)
# Break-glass: any single officer may stop, whatever the policy says.
STOP: Final = "key.suspend"

# Acts on the journal itself, the end of many certificates, new CAs, and what binds a site box. A policy that does not
# name them leaves them to every officer, as genesis was.
EVERYONE: Final = frozenset({
    "log.key.rotate", "log.recover", "certificate.revoke", "certificate.identity-root", "certificate.root-link",
    "certificate.device-ca", "certificate.site-ca", "certificate.service-ca", "certificate.switch", "quota-grant",
    "grant.import",
})  # fmt: skip

Role = Literal["station", "pipeline", "officer", "auditor", "operator", "gateway"]
Algorithm = Literal["ES256", "ES384", "EdDSA", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]
Claim = str | int | bool
Kind = Annotated[str, Meta(pattern="^[a-z0-9]+([.-][a-z0-9]+)*$", max_length=64)]
Word = Annotated[str, Meta(pattern="^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Text = Annotated[str, Meta(min_length=1, max_length=512)]
Count = Annotated[int, Meta(ge=0, lt=1 << 53)]


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Every part of the document: a field that Kedge does not know is refused; defaults are left out of the bytes."""


class Quorum(_Strict, frozen=True):
    """m distinct persons who hold one of `roles`, among them one for each of `must_include`."""

    m: Annotated[int, Meta(ge=0, le=64)]
    roles: tuple[Word, ...] = ()
    must_include: tuple[Word, ...] = ()
    assurance: Assurance = "verification"


class KeysInline(_Strict, frozen=True, tag="inline"):
    """The issuer's public keys as JWKs (RFC 7517), for a station that signs its own tokens."""

    keys: Annotated[tuple[dict[str, str], ...], Meta(min_length=1, max_length=32)]

    def __post_init__(self) -> None:
        try:
            index_keys(parse_jwk(key) for key in self.keys)
        except JwkMalformed as error:
            raise ValueError(f"inline key: {error.message}") from error


class KeysUrl(_Strict, frozen=True, tag="url"):
    """Where the keyroom fetches the issuer's JWKS: https, this host, a certificate under this CA, no other.

    private: the host may resolve to a loopback or private address.
    """

    url: Text
    host: Text
    ca_pem: Annotated[str, Meta(max_length=65_536)]
    private: bool = False

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme != "https" or parts.hostname != self.host or "@" in parts.netloc or "#" in self.url:
            raise ValueError(f"JWKS location {self.url} is not https on host {self.host}")
        if not self.url.isascii() or not self.url.isprintable() or " " in self.url:
            raise ValueError(f"JWKS location {self.url!r} is not printable ASCII")
        if "-----BEGIN CERTIFICATE-----" not in self.ca_pem:
            raise ValueError(f"JWKS location {self.url} has no pinned CA certificate")


class Grant(_Strict, frozen=True):
    """A role for tokens whose claims equal all of `claims`, with the same JSON types.

    bind: our binding name -> the claim that holds its value. fixed: binding name -> values that the policy itself
    gives; for issuers whose key the bearer holds, because what a bearer claims about itself proves nothing.
    """

    role: Role
    claims: Annotated[dict[Text, Claim], Meta(min_length=1)]
    bind: dict[Word, Text] = {}
    fixed: dict[Word, tuple[Text, ...]] = {}

    def __post_init__(self) -> None:
        if set(self.bind) & set(self.fixed):
            raise ValueError(f"a grant of {self.role} binds a name twice")
        if self.role == "pipeline" and "sub" in self.claims:
            raise ValueError("a pipeline is matched by immutable claims, never by sub")


class Issuer(_Strict, frozen=True):
    """Whose workload tokens count. The audience is exact; a token is at most `max_age_s` old.

    sender_constrained: tokens must name the client certificate that presents them (RFC 8705 `cnf`), which the API has
    from TLS (`tls_client_ca`) or from its proxy. A token that names one is held to it in any case.
    """

    issuer: Text
    audience: Text
    algorithms: Annotated[tuple[Algorithm, ...], Meta(min_length=1)]
    max_age_s: Annotated[int, Meta(ge=1, le=600)]
    jwks: KeysInline | KeysUrl
    grants: tuple[Grant, ...]
    sender_constrained: bool = False


class ReleaseWindow(_Strict, frozen=True):
    """When releases may be signed (seconds since 1970), and how many signatures the window allows."""

    start: Count
    end: Count
    max_signatures: Count


class ReleasePolicy(_Strict, frozen=True):
    """What may be signed for one class and channel.

    claims: alternatives; a token must hold every pair of one of them (immutable repository claims).
    hardware: allowed hardware revisions. slot_bytes: size of the signed image at most.
    floor: lowest security version; max_step: how far one release may raise it. min_validity_days: of the chain.
    image_role: role of the image key in the trust set. requires: digests a request must bring.
    """

    class_name: Word
    channel: Word
    component: Count
    format: Literal["mcuboot"]
    image_role: Literal["image-boot", "image-app", "image-config", "image-golden"]
    claims: Annotated[tuple[dict[Text, Claim], ...], Meta(min_length=1)]
    hardware: Annotated[tuple[tuple[Count, Count], ...], Meta(min_length=1)]
    slot_bytes: Annotated[int, Meta(ge=1, lt=1 << 32)]
    floor: Count
    max_step: Count
    min_validity_days: Count
    requires: tuple[Literal["provenance", "sbom"], ...] = ()
    window: ReleaseWindow | None = None

    def __post_init__(self) -> None:
        if not all(self.claims) or any("sub" in alternative for alternative in self.claims):
            raise ValueError(
                f"release policy {self.class_name}/{self.channel} has an empty alternative, or matches sub"
            )


class Policy(_Strict, frozen=True, dict=True, omit_defaults=False):
    """The document `kedge/policy/v1`; JCS JSON, in force by a ceremony. `lint_policy` judges it with its roster."""

    quorums: dict[Kind, Quorum]
    fleet: Fleet
    issuers: tuple[Issuer, ...] = ()
    releases: tuple[ReleasePolicy, ...] = ()
    conflicts: tuple[tuple[Word, Word], ...] = ()
    type: Literal["kedge/policy/v1"] = "kedge/policy/v1"
    v: Literal[1] = 1

    def __post_init__(self) -> None:
        _refuse_repeats("issuer", [issuer.issuer for issuer in self.issuers])
        _refuse_repeats("release policy", [f"{rule.class_name}/{rule.channel}" for rule in self.releases])
        _refuse_repeats("device class", [item.name for item in self.fleet.classes])
        unknown = {rule.class_name for rule in self.releases} - {item.name for item in self.fleet.classes}
        if unknown:
            raise ValueError(f"policy releases for classes that the fleet does not have: {', '.join(sorted(unknown))}")
        for kind, quorum in self.quorums.items():
            _check_quorum(kind, quorum)

    @cached_property
    def document(self) -> bytes:
        """The canonical bytes that are approved and recorded."""
        return jcs(msgspec.to_builtins(self))

    @cached_property
    def digest(self) -> str:
        """Lowercase hex SHA-256 of the document: `policy_sha256` of approvals and journal entries."""
        return hashlib.sha256(self.document).hexdigest()

    def rule_for(self, kind: str, roster: Roster) -> QuorumRule:
        """The quorum for a kind of draft or act, n counted in the roster. Raises PolicyRefuses when none is named."""
        if kind == STOP:
            n = len(roster.with_roles(("officer",)))
            return QuorumRule(kind=kind, m=1, n=n, roles=("officer",), stop=True)
        quorum = self.quorums.get(kind)
        if quorum is None and kind in EVERYONE:
            n = len(roster.with_roles(("officer",)))
            return QuorumRule(kind=kind, m=n, n=n, roles=("officer",))
        if quorum is None:
            raise PolicyRefuses(
                f"policy has no quorum for {kind}", hint="the policy of genesis names all; no ceremony changes it"
            )
        return QuorumRule(
            kind=kind,
            m=quorum.m,
            n=len(roster.with_roles(quorum.roles)),
            roles=quorum.roles,
            must_include=quorum.must_include,
            assurance=quorum.assurance,
        )

    def issuer_of(self, name: str) -> Issuer:
        """The issuer with exactly this name. Raises PolicyRefuses."""
        for issuer in self.issuers:
            if issuer.issuer == name:
                return issuer
        raise PolicyRefuses(f"policy has no issuer {name[:80]!r}")

    def release_policy(self, class_name: str, channel: str) -> ReleasePolicy:
        """What may be released for a class and channel. Raises PolicyRefuses."""
        for rule in self.releases:
            if (rule.class_name, rule.channel) == (class_name, channel):
                return rule
        raise PolicyRefuses(f"policy allows no release for class {class_name[:64]!r}, channel {channel[:64]!r}")


def parse_policy(document: bytes) -> Policy:
    """Parse the canonical bytes of a policy. Raises PolicyMalformed."""
    try:
        policy = msgspec.convert(parse_jcs(document, MAX_POLICY), Policy)
    except (JsonMalformed, msgspec.ValidationError) as error:
        raise PolicyMalformed(f"policy does not parse: {error}", hint="write it with `Policy.document`") from error
    if policy.document != document:
        raise PolicyMalformed("policy is not in its one encoding", hint="write it with `Policy.document`")
    return policy


def lint_policy(policy: Policy, roster: Roster) -> None:
    """Check a policy against the roster that will live under it.

    Raises PolicyMalformed when a quorum can never be met, or one person holds two roles that exclude each other.
    """
    for kind in sorted(policy.quorums):
        rule = policy.rule_for(kind, roster)
        if rule.n < rule.m:
            raise PolicyMalformed(f"quorum for {kind} needs {rule.m} persons, the roster has {rule.n} with its roles")
        for role in rule.must_include:
            if not set(roster.with_roles((role,))) & set(roster.with_roles(rule.roles)):
                raise PolicyMalformed(f"quorum for {kind} needs a person with role {role}, the roster has none")
    for officer in roster.officers:
        for pair in policy.conflicts:
            if set(pair) <= set(officer.roles):
                raise PolicyMalformed(f"{officer.id} holds {pair[0]} and {pair[1]}, which exclude each other")


def claims_match(wanted: dict[str, Claim], claims: dict[str, Any]) -> bool:
    """Whether `claims` holds every wanted claim with equal type and value (JSON true is not 1)."""
    return all(
        name in claims and type(claims[name]) is type(value) and claims[name] == value for name, value in wanted.items()
    )


def _check_quorum(kind: str, quorum: Quorum) -> None:
    if kind == STOP:
        raise ValueError(f"{STOP} takes one officer always and stands in no policy")
    if quorum.m == 1 or (quorum.m == 0 and not UNATTENDED.fullmatch(kind)):
        raise ValueError(f"quorum for {kind} is {quorum.m}, at least 2 persons are needed")
    if quorum.m and not quorum.roles:
        raise ValueError(f"quorum for {kind} names no roles")
    if NO_APPROVAL & {*quorum.roles, *quorum.must_include}:
        raise ValueError(f"quorum for {kind} counts a role without a right to approve")
    if len(quorum.must_include) > quorum.m:
        raise ValueError(f"quorum for {kind} must include more roles than persons")


def _refuse_repeats(what: str, names: list[str]) -> None:
    if len(set(names)) != len(names):
        raise ValueError(f"policy has the same {what} twice")
