"""Transition indexes: which manifests carry each class to the next set (docs/trust.cddl, `transition-index`)."""

from collections.abc import Mapping, Sequence

import msgspec

from pki.drafts import Draft
from pki.trust.authority import Point, check_fleet, check_set_ref, check_signers, open_sign
from pki.trust.drafts import draft_sign
from pki.trust.errors import IndexRefused
from pki.trust.keys import CoseKey
from pki.trust.payloads import Payload
from pki.trust.sets import CLASS_ID, SET_REF, RoleId, SetRef, TrustSet
from pki.trust.shapes import HASH, UUID, Field, record, table, uint
from pki.trust.targets import RANGE, Range


class ClassRelease(msgspec.Struct, frozen=True):
    """SHA-256 of the manifest payload for the active slot, the fallback slot and perhaps the golden image."""

    active: bytes
    fallback: bytes
    golden: bytes | None
    bootloader: Range


class TransitionIndex(Payload, frozen=True):
    """The release that moves a fleet from one set to another; `classes` by class id."""

    NAME = "transition-index"

    fleet: bytes
    campaign: bytes
    from_set: SetRef
    to_set: SetRef
    sequence: int
    classes: Mapping[bytes, ClassRelease]


_CLASS_RELEASE = record(
    ClassRelease,
    {
        1: Field("active", HASH),
        2: Field("fallback", HASH),
        3: Field("golden", HASH, None),
        4: Field("bootloader", RANGE),
    },
)
TransitionIndex.shape = record(
    TransitionIndex,
    {
        2: Field("fleet", UUID),
        3: Field("campaign", UUID),
        4: Field("from_set", SET_REF),
        5: Field("to_set", SET_REF),
        6: Field("sequence", uint()),
        7: Field("classes", table(CLASS_ID, _CLASS_RELEASE)),
    },
    marks={1: 1},
)


def verify_index(to_set: TrustSet, message: bytes) -> TransitionIndex:
    """A transition index to this set, by its manifest-signers of every class that it names.

    Strict parse, fleet, to-set equal to the set, from-set below it, threshold for each class. A group that is limited
    to some domains or sites cannot sign one. Raises a TrustError or CborInvalid leaf.
    """
    index, signed = open_sign(TransitionIndex, message)
    check_fleet(to_set, index.fleet)
    check_set_ref(to_set, index.to_set)
    if index.from_set.index >= index.to_set.index:
        raise IndexRefused("a transition index leads from a lower set to a higher one")
    check_signers(to_set, RoleId.MANIFEST_SIGNER, signed, [Point(class_id) for class_id in index.classes])
    return index


def draft_index(to_set: TrustSet, index: TransitionIndex, signers: Sequence[CoseKey]) -> Draft:
    """A draft of a transition index to the set, verified as a device will before it leaves."""
    steps = f"from set index {index.from_set.index} to {index.to_set.index}"
    return draft_sign(
        index,
        signers,
        summary=f"Transition index {index.sequence}: {steps}, {len(index.classes)} classes",
        what={
            "campaign": index.campaign.hex(),
            "sequence": index.sequence,
            "from_index": index.from_set.index,
            "set_index": index.to_set.index,
            "hash": index.payload_sha256.hex(),
        },
        check=lambda message: verify_index(to_set, message),
    )
