"""Challenges: the director asks a device for a receipt (docs/trust.cddl, `challenge`)."""

from pki.drafts import Draft
from pki.trust.authority import Point, check_authority, check_fleet
from pki.trust.cose import check_typ, parse_sign1, verify_sign1
from pki.trust.drafts import draft_sign1
from pki.trust.errors import ThresholdNotMet
from pki.trust.keys import CoseKey
from pki.trust.payloads import Payload
from pki.trust.sets import RoleId, TrustSet
from pki.trust.shapes import HASH, UUID, Field, octets, record

MAX_CANARY = 1 << 16


class Challenge(Payload, frozen=True):
    """A 32-byte nonce for a campaign, perhaps with a canary: a manifest signed by the old key, to be rejected."""

    NAME = "challenge"

    fleet: bytes
    nonce: bytes
    campaign: bytes
    canary: bytes | None = None


Challenge.shape = record(
    Challenge,
    {
        2: Field("fleet", UUID),
        3: Field("nonce", HASH),
        4: Field("campaign", UUID),
        5: Field("canary", octets(1, MAX_CANARY), None),
    },
    marks={1: 1},
)


def verify_challenge(trust_set: TrustSet, message: bytes, *, class_id: bytes | None = None) -> Challenge:
    """A challenge by a director of this set: the one for the class, or for all classes when it is None.

    It is a COSE_Sign1, so a director group with a threshold above 1 cannot issue one. Raises a TrustError or
    CborInvalid leaf, or SignatureInvalid.
    """
    signed = parse_sign1(message)
    check_typ(signed.typ, Challenge.typ())
    key = trust_set.key_by_kid.get(signed.signature.kid)
    if key is None:
        raise ThresholdNotMet("challenge is signed by a key that the trust set does not know")
    challenge = Challenge.from_payload(verify_sign1(signed, key))
    check_fleet(trust_set, challenge.fleet)
    check_authority(trust_set, RoleId.DIRECTOR, frozenset({key.thumbprint}), [Point(class_id)])
    return challenge


def draft_challenge(
    trust_set: TrustSet, challenge: Challenge, signer: CoseKey, *, class_id: bytes | None = None
) -> Draft:
    """A draft of a challenge, verified as a device will before it leaves."""
    return draft_sign1(
        challenge,
        signer,
        summary=f"Challenge for a receipt, campaign {challenge.campaign.hex()}",
        what={
            "campaign": challenge.campaign.hex(),
            "nonce": challenge.nonce.hex(),
            "canary": challenge.canary is not None,
            "hash": challenge.payload_sha256.hex(),
        },
        check=lambda message: verify_challenge(trust_set, message, class_id=class_id),
    )
