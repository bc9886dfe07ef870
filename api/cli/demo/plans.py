"""What the officers of the demo decide: the policy, the hierarchy, the trust sets. `kedge init` proposes the same."""

import json
from typing import Any, Final

from api.cli.demo.issuer import AUDIENCE, Issuer, ServedIssuer
from ceremonies.fleet import DeviceClass, Fleet
from ceremonies.officers import Roster
from ceremonies.policy import Grant, KeysInline, KeysUrl, Policy, Quorum, ReleasePolicy
from ceremonies.policy import Issuer as IssuerPolicy

CLASS: Final = "bms-stm32h7"
PLANT: Final = "graz"
SITE: Final = "site-graz-1"
ORGANIZATION: Final = "Acme Storage"
DOMAIN_APP: Final = 2
TOKENS: Final = {
    "kedge-main": (
        "identity-root", "device-ca", "site-ca", "service-ca", "oem-root", "manifest-signer", "image-app", "counter",
        "director", "ocsp", "cmp",
    ),
    "kedge-journal": ("journal",),
    "kedge-recovery": ("recovery",),
}  # fmt: skip
ARC: Final = "1.3.6.1.4.1.32473"  # the enterprise number for examples (RFC 5612)
FLEET: Final = Fleet(
    "5d1b0a52-9d0c-4a57-8f4e-6a3f0e2b7c11",
    "acme.example",
    (DeviceClass(CLASS, "stm32h7-atecc608b", f"{ARC}.1"),),
    arc=ARC,
    test_root=True,
)
REPOSITORY: Final[dict[str, str | int | bool]] = {
    "repository_id": "4711",
    "repository_owner_id": "42",
    "environment": "release",
}

_TWO_OFFICERS: Final = (
    "key.generate", "key.active", "key.destroy", "work-order", "trust-set", "transition-index", "counter-update",
    "birth-package", "certificate.identity-root", "certificate.device-ca", "certificate.site-ca",
    "certificate.service-ca", "log.key.rotate", "log.recover", "station.enrol", "station.resume", "certificate.revoke",
    "certificate.ocsp-responder", "key.deactivated", "baseline", "register-import", "elements-import",
    "certificate.root-link", "certificate.switch", "certificate.cmp-responder",
)  # fmt: skip
_BY_RULE: Final = (
    "certificate.idevid", "certificate.ieee2030-5-device", "certificate.ldevid", "certificate.station-tls",
    "image.mcuboot", "fw-manifest", "challenge", "crl",
)  # fmt: skip


# One grant for each role; a token must fit exactly one.
_STAFF: Final = (
    Grant("station", {"role": "station"}, bind={"plant": "plant", "class": "class"}),
    Grant("officer", {"role": "officer"}, bind={"officer": "officer"}),
    Grant("auditor", {"role": "auditor"}),
    Grant("gateway", {"role": "gateway"}),
)
_DEVELOPMENT: Final = (
    *_STAFF,
    Grant("operator", {"role": "operator"}, bind={"plant": "plant", "site": "site"}),
    Grant("pipeline", {"role": "pipeline", "repository_owner_id": "42"}),
)


def make_policy(staff: Issuer, pipeline: ServedIssuer) -> Policy:
    """The demo's policy: staff and stations by an inline key, CI by a JWKS that is fetched."""
    location = KeysUrl(pipeline.jwks_url, "localhost", pipeline.ca_pem, private=True)
    jobs = (Grant("pipeline", {"repository_owner_id": "42"}),)
    return _write_policy(
        IssuerPolicy(staff.name, AUDIENCE, ("ES256",), 600, KeysInline((staff.jwk,)), _STAFF),
        IssuerPolicy(pipeline.name, AUDIENCE, ("ES256",), 600, location, jobs),
    )


def make_development_policy(issuer: str, jwk: dict[str, str]) -> Policy:
    """The policy of `kedge init`: one issuer of tokens for every role."""
    return _write_policy(IssuerPolicy(issuer, AUDIENCE, ("ES256",), 600, KeysInline((jwk,)), _DEVELOPMENT))


def _write_policy(*issuers: IssuerPolicy) -> Policy:
    """Two officers for all that lasts; nobody for what a work order or a release rule already bounds."""
    quorums = {kind: Quorum(2, ("officer",), assurance="software") for kind in _TWO_OFFICERS}
    quorums |= {kind: Quorum(0) for kind in _BY_RULE}
    releases = tuple(
        ReleasePolicy(
            class_name=CLASS, channel=channel, component=DOMAIN_APP, format="mcuboot", image_role="image-app",
            claims=(REPOSITORY,), hardware=((1, 3),), slot_bytes=458_752, floor=1, max_step=4, min_validity_days=0,
        )
        for channel in ("stable", "transition")
    )  # fmt: skip
    return Policy(quorums=quorums, fleet=FLEET, issuers=issuers, releases=releases)


def genesis_plan(roster: Roster, policy: Policy) -> dict[str, Any]:
    """All that exists after genesis."""
    return {
        "roster": json.loads(roster.document),
        "policy": json.loads(policy.document),
        "organization": ORGANIZATION,
        "keys": _keys(),
        "authorities": [
            {"label": "identity-root", "profile": "identity-root", "name": "Acme Identity Root", "days": 9125},
            {"label": "device-ca", "profile": "device-ca", "name": "Acme Device CA", "days": 9000},
            {"label": "site-ca", "profile": "site-ca", "name": "Acme Site CA", "site": SITE, "days": 3650},
            {"label": "service-ca", "profile": "service-ca", "name": "Acme Service CA", "days": 3650},
        ],
        "trust_set": set_plan((1, 2, 3), "image-app-1"),
        "births": [{"class_name": CLASS, "counters": {"0": 0, str(DOMAIN_APP): 0}}],
    }


def _keys() -> list[dict[str, str]]:
    one = ("device-ca", "site-ca", "service-ca", "manifest-signer", "director")
    keys = [key("identity-root", "identity-root", "p384"), *(key(role, role) for role in one)]
    keys += [key(f"oem-root-{number}", "oem-root") for number in (1, 2, 3)]
    keys += [key(f"recovery-{number}", "recovery") for number in (1, 2, 3)]
    keys += [key(f"counter-{number}", "counter", scope=CLASS) for number in (1, 2)]
    keys.append({"label": "probe", "role": "probe", "algorithm": "p256", "token": "kedge-main"})
    return [*keys, key("image-app-1", "image-app", scope=CLASS), key("journal", "journal", "ed25519")]


def key(label: str, role: str, algorithm: str = "p256", scope: str = "") -> dict[str, str]:
    """A key of a plan, on the token that holds its role."""
    token = next(name for name, roles in TOKENS.items() if role in roles)
    fields = {"label": label, "role": role, "algorithm": algorithm, "token": token}
    return {**fields, "scope": scope} if scope else fields


def set_plan(roots: tuple[int, ...], image: str) -> dict[str, Any]:
    """A trust set by labels: two of three roots, one image key for the class, two counter keys."""
    return {
        "roles": {
            "oem-root": [{"threshold": 2, "labels": [f"oem-root-{number}" for number in roots]}],
            "manifest-signer": [{"threshold": 1, "labels": ["manifest-signer"]}],
            "image-app": [{"threshold": 1, "labels": [image], "class_name": CLASS}],
            "counter": [{"threshold": 2, "labels": ["counter-1", "counter-2"], "class_name": CLASS}],
            "director": [{"threshold": 1, "labels": ["director"]}],
        },
        "recovery": {"threshold": 2, "labels": [f"recovery-{number}" for number in (1, 2, 3)]},
        "limits": [{"class_name": CLASS, "domain": DOMAIN_APP, "max_step": 8, "maximum": 1000}],
    }
