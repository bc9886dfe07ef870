"""The policy document: strict, canonical, and nothing is allowed that it does not name."""

import hashlib
import json
from typing import Any

import msgspec
import pytest

from ceremonies.approvals import QuorumRule
from ceremonies.errors import PolicyMalformed, PolicyRefuses
from ceremonies.officers import Officer, Roster
from ceremonies.policy import (
    Grant,
    Issuer,
    KeysInline,
    KeysUrl,
    Policy,
    Quorum,
    ReleasePolicy,
    claims_match,
    lint_policy,
    parse_policy,
)
from pki.jcs import jcs
from tests.ceremonies.issuer_keys import AUDIENCE, FLEET, ISSUER, make_signer
from tests.ceremonies.ssh_keys import make_key

SIGNER = make_signer()
PEM = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
URL = KeysUrl("https://ci.example:8443/jwks", "ci.example", PEM)
OFFICERS = Quorum(m=2, roles=("officer",))
RELEASE = ReleasePolicy(
    class_name="bms-stm32h7",
    channel="stable",
    component=1,
    format="mcuboot",
    image_role="image-app",
    claims=({"repository_id": "4711", "environment": "release"},),
    hardware=((1, 3),),
    slot_bytes=458_752,
    floor=3,
    max_step=1,
    min_validity_days=365,
    requires=("provenance",),
)
POLICY = Policy(
    quorums={
        "certificate.idevid": Quorum(m=0),
        "trust-set": OFFICERS,
        "counter-update": Quorum(m=2, roles=("officer",), must_include=("secadm",), assurance="presence"),
    },
    fleet=FLEET,
    issuers=(
        Issuer(
            ISSUER, AUDIENCE, ("ES256",), 300, URL, (Grant("pipeline", {"repository_id": "4711"}, {"class": "class"}),)
        ),
        Issuer(
            "station-7",
            AUDIENCE,
            ("ES256",),
            600,
            KeysInline((SIGNER.jwk,)),
            (Grant("station", {"sub": "station-7"}, fixed={"plant": ("graz",)}),),
        ),
    ),
    releases=(RELEASE,),
    conflicts=(("administrator", "officer"),),
)


def officer(name: str, *roles: str) -> Officer:
    return Officer(name, name.upper(), (make_key().line,), roles)


ROSTER = Roster(officers=(officer("ada", "officer", "secadm"), officer("bob", "officer"), officer("wil", "witness")))


def changed(path: str, value: object) -> bytes:
    """The document with one member replaced, or removed by `...`."""
    document = json.loads(POLICY.document)
    *parents, last = [int(part) if part.isdigit() else part for part in path.split("/")]
    target = document
    for part in parents:
        target = target[part]
    if value is ...:
        del target[last]
    else:
        target[last] = value
    return jcs(document)


def test_a_policy_comes_back_from_its_document() -> None:
    assert parse_policy(POLICY.document) == POLICY
    assert POLICY.digest == hashlib.sha256(POLICY.document).hexdigest()
    lint_policy(POLICY, ROSTER)


@pytest.mark.req("MP-1")
def test_the_rule_of_a_kind_counts_its_persons_in_the_roster() -> None:
    assert POLICY.rule_for("trust-set", ROSTER) == QuorumRule("trust-set", 2, 2, ("officer",), (), "verification")
    rule = POLICY.rule_for("counter-update", ROSTER)
    assert (rule.must_include, rule.assurance) == (("secadm",), "presence")
    assert POLICY.rule_for("certificate.idevid", ROSTER).m == 0


def test_what_the_policy_does_not_name_is_refused() -> None:
    empty = Policy(quorums={}, fleet=FLEET)
    with pytest.raises(PolicyRefuses, match="no quorum for trust-set"):
        empty.rule_for("trust-set", ROSTER)
    with pytest.raises(PolicyRefuses, match="no issuer"):
        empty.issuer_of(ISSUER)
    with pytest.raises(PolicyRefuses, match="no issuer"):
        POLICY.issuer_of(ISSUER + "/")
    for class_name, channel in [("bms-stm32h7", "beta"), ("pcs", "stable")]:
        with pytest.raises(PolicyRefuses, match="allows no release"):
            POLICY.release_policy(class_name, channel)
    assert POLICY.release_policy("bms-stm32h7", "stable") == RELEASE


@pytest.mark.req("MP-11", "KL-9")
def test_one_officer_can_always_stop_and_no_policy_can_change_that() -> None:
    rule = Policy(quorums={}, fleet=FLEET).rule_for("key.suspend", ROSTER)
    assert (rule.m, rule.roles, rule.stop) == (1, ("officer",), True)
    for m in (0, 1, 2):
        with pytest.raises(PolicyMalformed, match=r"key\.suspend"):
            parse_policy(changed("quorums/key.suspend", {"m": m, "roles": ["officer"]}))


@pytest.mark.req("MP-1", "KL-11")
@pytest.mark.parametrize("m", [0, 1])
@pytest.mark.parametrize(
    "kind",
    [
        *("key.generate", "key.activate", "key.resume", "key.destroy", "key.backup", "key.restore"),
        *("trust-set", "counter-update", "transition-index", "birth-package", "deny-list"),
        *("roster.change", "policy.change", "work-order", "lint.waiver", "log.recover", "log.key.rotate"),
        *("certificate.root", "certificate.device-ca", "certificate.site-ca", "anything-new"),
    ],
)
def test_acts_of_weight_need_two_persons_whatever_a_policy_says(kind: str, m: int) -> None:
    with pytest.raises(PolicyMalformed, match="at least 2 persons"):
        parse_policy(changed(f"quorums/{kind}", {"m": m, "roles": ["officer"]}))
    assert parse_policy(changed(f"quorums/{kind}", {"m": 2, "roles": ["officer"]})).quorums[kind].m == 2


@pytest.mark.parametrize(
    "kind", ["certificate.idevid", "certificate.station-tls", "image.mcuboot", "fw-manifest", "challenge", "crl"]
)
def test_what_a_rule_stands_before_may_be_sealed_without_an_officer(kind: str) -> None:
    assert parse_policy(changed(f"quorums/{kind}", {"m": 0})).quorums[kind].m == 0


@pytest.mark.parametrize(
    ("path", "value", "why"),
    [
        ("quorums/trust-set/m", 65, "does not parse"),
        ("quorums/trust-set/m", -1, "does not parse"),
        ("quorums/trust-set/m", True, "does not parse"),
        ("quorums/trust-set/roles", ..., "names no roles"),
        ("quorums/trust-set/roles", ["officer", "witness"], "without a right"),
        ("quorums/trust-set/must_include", ["auditor"], "without a right"),
        ("quorums/trust-set/must_include", ["a", "b", "c"], "more roles than persons"),
        ("quorums/trust-set/assurance", "none", "does not parse"),
        ("quorums/trust-set/n", 3, "unknown field"),
        ("quorums/Trust-Set", {"m": 2, "roles": ["officer"]}, "does not parse"),
        ("quorums", ..., "does not parse"),
        ("quorums/trust-set/assurance", "verification", "one encoding"),
        ("v", ..., "one encoding"),
        ("v", 2, "does not parse"),
        ("type", "kedge/roster/v1", "does not parse"),
        ("extra", 1, "unknown field"),
        ("releases/0/claims", [], "does not parse"),
        ("releases/0/claims", [{}], "empty alternative"),
        ("releases/0/claims", [{"sub": "repo:acme/bms"}], "matches sub"),
        ("releases/0/hardware", [], "does not parse"),
        ("releases/0/format", "raw", "does not parse"),
        ("releases/0/slot_bytes", 0, "does not parse"),
        ("releases/0/image_role", "counter", "does not parse"),
        ("releases/0/shortcut", True, "unknown field"),
        ("releases/0/class_name", "ems", "fleet does not have: ems"),
        ("fleet", ..., "does not parse"),
        ("fleet/classes", [{"name": "pcs", "hardware": "lpc55"}] * 2, "same device class twice"),
        ("fleet/site", "graz", "unknown field"),
    ],
)
def test_policies_that_are_refused(path: str, value: object, why: str) -> None:
    with pytest.raises(PolicyMalformed, match=why):
        parse_policy(changed(path, value))


@pytest.mark.req("AZ-6", "T22", "T23")
@pytest.mark.parametrize(
    ("path", "value", "why"),
    [
        ("algorithms", [], "does not parse"),
        ("algorithms", ["HS256"], "does not parse"),
        ("algorithms", ["ES256", "none"], "does not parse"),
        ("max_age_s", 601, "does not parse"),
        ("max_age_s", 0, "does not parse"),
        ("audience", "", "does not parse"),
        ("issuer", "station-7", "same issuer twice"),
        ("jwks/url", "http://ci.example/jwks", "not https"),
        ("jwks/url", "https://evil.example/jwks", "not https on host"),
        ("jwks/url", "https://ci.example@evil.example/jwks", "not https on host"),
        ("jwks/url", "https://:secret@ci.example/jwks", "not https on host"),
        ("jwks/url", "https://ci.example/jwks#x", "not https on host"),
        ("jwks/url", "https://ci.example/jw ks", "printable"),
        ("jwks/url", "https://ci.example/jw\nks", "printable"),
        ("jwks/url", "https://[ci.example/jwks", "does not parse"),
        ("jwks/url", "file:///etc/passwd", "not https"),
        ("jwks/ca_pem", "", "no pinned CA"),
        ("jwks/type", "discovery", "does not parse"),
        ("jwks", {"type": "inline", "keys": []}, "does not parse"),
        ("jwks", {"type": "inline", "keys": [{"kty": "oct", "k": "eA", "kid": "o"}]}, "inline key"),
        ("jwks", {"type": "inline", "keys": [SIGNER.jwk, SIGNER.jwk]}, "two keys"),
        ("grants/0/claims", {}, "does not parse"),
        ("grants/0/claims", {"sub": "repo:acme/bms:ref:refs/heads/main"}, "never by sub"),
        ("grants/0/claims", {"repository_id": ["4711"]}, "does not parse"),
        ("grants/0/role", "root", "does not parse"),
        ("grants/0/fixed", {"class": ["pcs"]}, "twice"),
    ],
)
def test_issuers_that_are_refused(path: str, value: object, why: str) -> None:
    with pytest.raises(PolicyMalformed, match=why):
        parse_policy(changed(f"issuers/0/{path}", value))


def test_bytes_that_are_no_policy_are_refused() -> None:
    doubled = POLICY.document.replace(b'{"conflicts"', b'{"v":1,"conflicts"')
    for document in (b"", b"[]", b"\xff", POLICY.document + b"\n", doubled, b" " * (1 << 20) + b"{}"):
        with pytest.raises(PolicyMalformed):
            parse_policy(document)
    with pytest.raises(PolicyMalformed, match="same release policy twice"):
        parse_policy(changed("releases", [json.loads(POLICY.document)["releases"][0]] * 2))


@pytest.mark.req("MP-6", "MP-12")
def test_the_lint_compares_policy_and_roster() -> None:
    with pytest.raises(PolicyMalformed, match="needs 2 persons, the roster has 1"):
        lint_policy(POLICY, Roster(officers=(officer("ada", "officer", "secadm"),)))
    with pytest.raises(PolicyMalformed, match="person with role secadm"):
        lint_policy(POLICY, Roster(officers=(officer("ada", "officer"), officer("bob", "officer"))))
    # A person with the role alone, but without a role that counts, does not help.
    lone = Roster(officers=(officer("ada", "officer"), officer("bob", "officer"), officer("cyd", "secadm")))
    with pytest.raises(PolicyMalformed, match="person with role secadm"):
        lint_policy(POLICY, lone)
    conflicting = Roster(officers=(officer("ada", "officer", "secadm"), officer("bob", "administrator", "officer")))
    with pytest.raises(PolicyMalformed, match="bob holds administrator and officer"):
        lint_policy(POLICY, conflicting)


@pytest.mark.parametrize(
    ("wanted", "claims", "verdict"),
    [
        ({"id": "1"}, {"id": "1", "more": "x"}, True),
        ({"id": "1"}, {"id": 1}, False),
        ({"flag": True}, {"flag": 1}, False),
        ({"n": 1}, {"n": True}, False),
        ({"id": "1"}, {}, False),
        ({"id": "1"}, {"id": ["1"]}, False),
        ({"id": "1", "env": "prod"}, {"id": "1"}, False),
    ],
)
def test_claims_match_by_type_and_value(wanted: dict[str, Any], claims: dict[str, Any], verdict: bool) -> None:
    assert claims_match(wanted, claims) is verdict


def test_a_policy_in_memory_is_checked_as_a_parsed_one() -> None:
    with pytest.raises(ValueError, match="at least 2 persons"):
        msgspec.structs.replace(POLICY, quorums={"trust-set": Quorum(m=1, roles=("officer",))})
