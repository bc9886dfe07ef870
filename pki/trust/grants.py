"""Quota grants: how many device certificates the CA of a site box may issue, until when (docs/trust.cddl)."""

from collections.abc import Mapping, Sequence

from pki.drafts import Draft
from pki.trust.authority import Point, check_fleet, check_set_ref, check_signers, open_sign
from pki.trust.drafts import draft_sign
from pki.trust.errors import PayloadInvalid
from pki.trust.keys import CoseKey
from pki.trust.payloads import Payload
from pki.trust.sets import CLASS_ID, SET_REF, RoleId, SetRef, TrustSet
from pki.trust.shapes import HASH, SECONDS, UUID, Field, distinct, integer, nullable, record, table, text

MOST = (1 << 31) - 1
LATEST = 253_402_300_800
"""The first second of the year 10000: no date is that late (RFC 5280 section 4.1.2.5)."""


class QuotaGrant(Payload, frozen=True):
    """Leave for one CA key. A higher number takes the place of the grant before it: what was left of that is void.

    ca: SHA-256 of the CA's SubjectPublicKeyInfo. quantity: certificates, rework included. profiles: of certificates.
    classes: by class id the SHA-256 of the birth package that its devices get, if there is one. A certificate is begun
    from `valid_from` on and before `valid_to`. facts: SHA-256 of what the centre's policy says of the fleet and these
    classes (canonical JSON); without it the grant was made by an earlier release.
    """

    NAME = "quota-grant"

    fleet: bytes
    id: str
    number: int
    set_ref: SetRef
    ca: bytes
    plant: str
    quantity: int
    profiles: tuple[str, ...]
    classes: Mapping[bytes, bytes | None]
    valid_from: int
    valid_to: int
    issued_at: int
    facts: bytes | None = None


QuotaGrant.shape = record(
    QuotaGrant,
    {
        2: Field("fleet", UUID),
        3: Field("id", text(64)),
        4: Field("number", integer(1, MOST)),
        5: Field("set_ref", SET_REF),
        6: Field("ca", HASH),
        7: Field("plant", text(64)),
        8: Field("quantity", integer(1, MOST)),
        9: Field("profiles", distinct(text(64))),
        10: Field("classes", table(CLASS_ID, nullable(HASH))),
        11: Field("valid_from", SECONDS),
        12: Field("valid_to", SECONDS),
        13: Field("issued_at", SECONDS),
        14: Field("facts", HASH, None),
    },
    marks={1: 1},
)


def verify_grant(trust_set: TrustSet, message: bytes) -> QuotaGrant:
    """A grant under this set, by its manifest-signers of every class that it names.

    Raises a TrustError or CborInvalid leaf.
    """
    grant, signed = open_sign(QuotaGrant, message)
    check_fleet(trust_set, grant.fleet)
    check_set_ref(trust_set, grant.set_ref)
    check_signers(trust_set, RoleId.MANIFEST_SIGNER, signed, [Point(class_id) for class_id in grant.classes])
    if not grant.valid_from < grant.valid_to < LATEST:
        raise PayloadInvalid(f"grant {grant.id} is valid at no time", hint="it ends before it begins, or never")
    return grant


def draft_grant(trust_set: TrustSet, grant: QuotaGrant, signers: Sequence[CoseKey]) -> Draft:
    """A draft of a grant, verified before it leaves."""
    return draft_sign(
        grant,
        signers,
        summary=f"Grant {grant.id}: {grant.plant} may issue {grant.quantity} certificates by CA {grant.ca.hex()[:16]}",
        what={
            "ca": grant.ca.hex(),
            "classes": sorted(class_id.hex() for class_id in grant.classes),
            **({"facts": grant.facts.hex()} if grant.facts else {}),
            "grant": grant.id,
            "number": grant.number,
            "plant": grant.plant,
            "quantity": grant.quantity,
            "set_index": grant.set_ref.index,
            "valid_from": grant.valid_from,
            "valid_to": grant.valid_to,
        },
        check=lambda message: verify_grant(trust_set, message),
    )
