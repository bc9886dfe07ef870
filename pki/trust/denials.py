"""Deny lists: digests that must not run (docs/trust.cddl, `deny-list`)."""

from collections.abc import Sequence

from pki.drafts import Draft
from pki.trust.authority import Point, check_fleet, check_set_ref, check_signers, open_sign
from pki.trust.drafts import draft_sign
from pki.trust.keys import CoseKey
from pki.trust.payloads import Payload
from pki.trust.sets import SET_REF, RoleId, SetRef, TrustSet
from pki.trust.shapes import SECONDS, UUID, Field, distinct, record, uint
from pki.trust.targets import DIGEST, Digest


class DenyList(Payload, frozen=True):
    """Image digests that must not run. A higher sequence replaces the whole list."""

    NAME = "deny-list"

    fleet: bytes
    sequence: int
    set_ref: SetRef
    digests: tuple[Digest, ...]
    issued_at: int


DenyList.shape = record(
    DenyList,
    {
        2: Field("fleet", UUID),
        3: Field("sequence", uint()),
        4: Field("set_ref", SET_REF),
        5: Field("digests", distinct(DIGEST, low=0)),
        6: Field("issued_at", SECONDS),
    },
    marks={1: 1},
)


def verify_deny_list(trust_set: TrustSet, message: bytes, *, class_id: bytes | None = None) -> DenyList:
    """A deny list by this set's manifest-signers: those of the class, or those of all classes when it is None.

    Raises a TrustError or CborInvalid leaf.
    """
    denied, signed = open_sign(DenyList, message)
    check_fleet(trust_set, denied.fleet)
    check_set_ref(trust_set, denied.set_ref)
    check_signers(trust_set, RoleId.MANIFEST_SIGNER, signed, [Point(class_id)])
    return denied


def draft_deny_list(
    trust_set: TrustSet, denied: DenyList, signers: Sequence[CoseKey], *, class_id: bytes | None = None
) -> Draft:
    """A draft of a deny list under the set, verified as a device will before it leaves."""
    return draft_sign(
        denied,
        signers,
        summary=f"Deny list {denied.sequence}: {len(denied.digests)} digests must not run",
        what={
            "sequence": denied.sequence,
            "set_index": denied.set_ref.index,
            "digests": [digest.value.hex() for digest in denied.digests],
            "hash": denied.payload_sha256.hex(),
        },
        check=lambda message: verify_deny_list(trust_set, message, class_id=class_id),
    )
