"""Authority: whether the keys that signed a message may, by the roles of a trust set."""

from collections.abc import Iterable
from typing import TypeVar

import msgspec

from pki.trust.cose import SignMessage, check_typ, parse_sign, verified_kids
from pki.trust.errors import FleetMismatch, SetRefMismatch
from pki.trust.payloads import Payload
from pki.trust.sets import RoleId, SetRef, TrustSet
from pki.trust.targets import Target
from pki.trust.thresholds import Threshold, require

P = TypeVar("P", bound=Payload)


class Point(msgspec.Struct, frozen=True):
    """What a signature is wanted for; None means all classes, domains or sites."""

    class_id: bytes | None = None
    domain: int | None = None
    site: bytes | None = None


def points_of(target: Target, domains: Iterable[int | None]) -> tuple[Point, ...]:
    """Every (class, domain, site) that a message for the target touches."""
    sites: tuple[bytes | None, ...] = target.sites or (None,)
    return tuple(Point(target.class_id, domain, site) for domain in domains for site in sites)


def open_sign(kind: type[P], message: bytes) -> tuple[P, SignMessage]:
    """Parse a COSE_Sign and its payload. Proves nothing about who signed.

    Raises CoseInvalid, TypeMismatch, PayloadInvalid or a CborInvalid leaf.
    """
    signed = parse_sign(message)
    check_typ(signed.typ, kind.typ())
    return kind.from_payload(signed.payload), signed


def check_fleet(trust_set: TrustSet, fleet: bytes) -> None:
    """Raises FleetMismatch unless a message is for the fleet of the set."""
    if fleet != trust_set.fleet:
        raise FleetMismatch(f"message is for fleet {fleet.hex()}, the trust set for {trust_set.fleet.hex()}")


def check_set_ref(trust_set: TrustSet, ref: SetRef) -> None:
    """Raises SetRefMismatch unless a message names exactly this set."""
    if ref != trust_set.ref:
        raise SetRefMismatch(
            f"message names set ({ref.generation}, {ref.epoch}), "
            f"the newest is ({trust_set.generation}, {trust_set.epoch}), hash {trust_set.payload_sha256.hex()[:16]}",
            hint="sign it again under the newest set",
        )


def check_authority(trust_set: TrustSet, role: RoleId, kids: frozenset[bytes], points: Iterable[Point]) -> None:
    """The signers meet the threshold of the role's group at every point.

    kids: those whose signature verifies. Raises RoleUndefined where no group decides, ThresholdNotMet where one is not
    met, and ThresholdNotMet without any point.
    """
    require(*(count_signers(trust_set, role, kids, point) for point in points))


def check_signers(trust_set: TrustSet, role: RoleId, signed: SignMessage, points: Iterable[Point]) -> None:
    """`check_authority` with the keys of the set that signed a COSE_Sign."""
    check_authority(trust_set, role, verified_kids(signed, trust_set.keys), points)


def count_signers(trust_set: TrustSet, role: RoleId, kids: frozenset[bytes], point: Point) -> Threshold:
    """How the group that decides at a point stands. Raises RoleUndefined when there is none."""
    group = trust_set.group(role, class_id=point.class_id, domain=point.domain, site=point.site)
    return Threshold(role.name.lower().replace("_", "-"), group.threshold, frozenset(group.members), kids)
