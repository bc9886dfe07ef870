"""Counter updates: raising anti-rollback floors, which nothing takes back (docs/trust.cddl, `counter-update`)."""

from collections.abc import Sequence

import msgspec

from pki.drafts import Draft
from pki.trust.authority import check_fleet, check_set_ref, check_signers, open_sign, points_of
from pki.trust.drafts import draft_sign
from pki.trust.errors import LimitExceeded
from pki.trust.keys import CoseKey
from pki.trust.payloads import Payload
from pki.trust.sets import DOMAIN, SET_REF, Domain, RoleId, SetRef, TrustSet
from pki.trust.shapes import SECONDS, UUID, Field, array, record, uint
from pki.trust.targets import TARGET, Target


class FloorRaise(msgspec.Struct, frozen=True):
    """Raise one domain's floor from at most `floor_from` to `floor_to`.

    min_confirmed: how many confirmed slots must satisfy `floor_to` already.
    """

    domain: Domain
    floor_from: int
    floor_to: int
    min_confirmed: int


class CounterUpdate(Payload, frozen=True):
    """Floors to raise on a target. `soak` is seconds of uptime on the confirmed image before it applies."""

    NAME = "counter-update"

    fleet: bytes
    sequence: int
    set_ref: SetRef
    target: Target
    raises: tuple[FloorRaise, ...]
    soak: int


_RAISE = record(
    FloorRaise,
    {
        1: Field("domain", DOMAIN),
        2: Field("floor_from", uint()),
        3: Field("floor_to", uint()),
        4: Field("min_confirmed", uint(16)),
    },
)
CounterUpdate.shape = record(
    CounterUpdate,
    {
        2: Field("fleet", UUID),
        3: Field("sequence", uint()),
        4: Field("set_ref", SET_REF),
        5: Field("target", TARGET),
        6: Field("raises", array(_RAISE, high=16)),
        7: Field("soak", SECONDS),
    },
    marks={1: 1},
)


def verify_counter_update(trust_set: TrustSet, message: bytes) -> CounterUpdate:
    """A counter update that this set's counter group issued, inside its limits (device rules E.1, E.2).

    Strict parse, fleet, set-ref equal to the set, limits, counter threshold (two keys at least, which B.7 sees to).
    Sequence, target, present floors and slots are the device's. Raises a TrustError or CborInvalid leaf.
    """
    update, signed = open_sign(CounterUpdate, message)
    check_fleet(trust_set, update.fleet)
    check_set_ref(trust_set, update.set_ref)  # E.1
    check_limits(trust_set, update)  # E.2
    domains = [item.domain for item in update.raises]
    check_signers(trust_set, RoleId.COUNTER, signed, points_of(update.target, domains))  # E.1
    return update


def check_limits(trust_set: TrustSet, update: CounterUpdate) -> None:
    """Each raise goes up, by at most the step and to at most the maximum that the set allows its class.

    A class or domain without limits refuses, and so does domain 0, which follows the trust set alone.
    Raises LimitExceeded.
    """
    allowed = trust_set.limits.get(update.target.class_id, {})
    domains = [item.domain for item in update.raises]
    if len(set(domains)) != len(domains):
        raise LimitExceeded("a counter update raises one domain twice")
    for item in update.raises:
        name = item.domain.name.lower()
        limits = allowed.get(item.domain)
        if limits is None or item.domain is Domain.TRUST:
            raise LimitExceeded(f"the trust set allows no raise of domain {name} for this class")
        if not 0 < item.floor_to - item.floor_from <= limits.max_step:
            raise LimitExceeded(
                f"domain {name}: {item.floor_from} to {item.floor_to} is not a step of 1 to {limits.max_step}"
            )
        if item.floor_to > limits.maximum:
            raise LimitExceeded(f"domain {name}: {item.floor_to} is above the maximum {limits.maximum}")


def draft_counter_update(trust_set: TrustSet, update: CounterUpdate, signers: Sequence[CoseKey]) -> Draft:
    """A draft of a counter update under the set, verified as a device will before it leaves."""
    class_hex = update.target.class_id.hex()
    steps = ", ".join(f"{item.domain.name.lower()} {item.floor_from} to {item.floor_to}" for item in update.raises)
    return draft_sign(
        update,
        signers,
        summary=f"Counter update {update.sequence}, irreversible: class {class_hex}, floor of {steps}",
        what={
            "class": class_hex,
            "sequence": update.sequence,
            "set_index": update.set_ref.index,
            "floors": {item.domain.name.lower(): item.floor_to for item in update.raises},
            "hash": update.payload_sha256.hex(),
        },
        check=lambda message: verify_counter_update(trust_set, message),
    )
