"""Baselines: a set of firmware versions that was tested together (docs/trust.cddl, `baseline`)."""

from collections.abc import Mapping, Sequence

import msgspec

from pki.drafts import Draft
from pki.trust.authority import Point, check_fleet, check_set_ref, check_signers, open_sign
from pki.trust.drafts import draft_sign
from pki.trust.keys import CoseKey
from pki.trust.payloads import Payload
from pki.trust.sets import CLASS_ID, DOMAIN, SET_REF, Domain, RoleId, SetRef, TrustSet
from pki.trust.shapes import HASH, SECONDS, UUID, Field, record, row, table, uint
from pki.trust.targets import VERSION, Version


class BaselineRelease(msgspec.Struct, frozen=True):
    """The release of a class: component, version, SHA-256 of the payload of its manifest."""

    component: Domain
    version: Version
    manifest: bytes


class Baseline(Payload, frozen=True):
    """What a fleet should run, by class id. A higher sequence replaces the whole baseline."""

    NAME = "baseline"

    fleet: bytes
    sequence: int
    set_ref: SetRef
    classes: Mapping[bytes, BaselineRelease]
    issued_at: int


_TESTED = row(BaselineRelease, Field("component", DOMAIN), Field("version", VERSION), Field("manifest", HASH))
Baseline.shape = record(
    Baseline,
    {
        2: Field("fleet", UUID),
        3: Field("sequence", uint()),
        4: Field("set_ref", SET_REF),
        5: Field("classes", table(CLASS_ID, _TESTED)),
        6: Field("issued_at", SECONDS),
    },
    marks={1: 1},
)


def verify_baseline(trust_set: TrustSet, message: bytes) -> Baseline:
    """A baseline under this set, by its manifest-signers of every class that it names.

    Raises a TrustError or CborInvalid leaf.
    """
    baseline, signed = open_sign(Baseline, message)
    check_fleet(trust_set, baseline.fleet)
    check_set_ref(trust_set, baseline.set_ref)
    check_signers(trust_set, RoleId.MANIFEST_SIGNER, signed, [Point(class_id) for class_id in baseline.classes])
    return baseline


def draft_baseline(trust_set: TrustSet, baseline: Baseline, signers: Sequence[CoseKey]) -> Draft:
    """A draft of a baseline, verified before it leaves."""
    return draft_sign(
        baseline,
        signers,
        summary=f"Baseline {baseline.sequence}: the tested versions of {len(baseline.classes)} classes",
        what={
            "sequence": baseline.sequence,
            "set_index": baseline.set_ref.index,
            "hash": baseline.payload_sha256.hex(),
            "versions": {
                class_id.hex(): ".".join(map(str, item.version)) for class_id, item in baseline.classes.items()
            },
        },
        check=lambda message: verify_baseline(trust_set, message),
    )
