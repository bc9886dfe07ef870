"""Head statements: the director says which set is the newest (docs/trust.cddl, `head-statement`)."""

from collections.abc import Sequence

from pki.drafts import Draft
from pki.trust.authority import Point, check_fleet, check_set_ref, check_signers, open_sign
from pki.trust.drafts import draft_sign
from pki.trust.keys import CoseKey
from pki.trust.payloads import Payload
from pki.trust.sets import SET_REF, RoleId, SetRef, TrustSet
from pki.trust.shapes import HASH, SECONDS, UUID, Field, record


class HeadStatement(Payload, frozen=True):
    """The newest set at a time. `nonces_root` is the Merkle root over the nonces of the devices that asked."""

    NAME = "head-statement"

    fleet: bytes
    set_ref: SetRef
    nonces_root: bytes
    issued_at: int


HeadStatement.shape = record(
    HeadStatement,
    {
        2: Field("fleet", UUID),
        3: Field("set_ref", SET_REF),
        4: Field("nonces_root", HASH),
        5: Field("issued_at", SECONDS),
    },
    marks={1: 1},
)


def verify_head(trust_set: TrustSet, message: bytes) -> HeadStatement:
    """A statement by this set's directors of everything that this set is the newest.

    Raises a TrustError or CborInvalid leaf.
    """
    head, signed = open_sign(HeadStatement, message)
    check_fleet(trust_set, head.fleet)
    check_set_ref(trust_set, head.set_ref)
    check_signers(trust_set, RoleId.DIRECTOR, signed, [Point()])
    return head


def draft_head(trust_set: TrustSet, head: HeadStatement, signers: Sequence[CoseKey]) -> Draft:
    """A draft of a head statement, verified before it leaves."""
    return draft_sign(
        head,
        signers,
        summary=f"Head statement: set ({head.set_ref.generation}, {head.set_ref.epoch}) is the newest",
        what={"set_index": head.set_ref.index, "hash": head.payload_sha256.hex()},
        check=lambda message: verify_head(trust_set, message),
    )
