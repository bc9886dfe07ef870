"""Links: how one trust set follows another. The numbers are those of the device rules, part B."""

from collections.abc import Iterable, Iterator, Sequence, Set
from functools import lru_cache
from itertools import combinations
from typing import Any

from pki.drafts import Draft
from pki.trust.authority import check_fleet, open_sign
from pki.trust.cose import SignMessage, verified_kids
from pki.trust.drafts import draft_sign
from pki.trust.errors import (
    CoseKeyInvalid,
    IndexRefused,
    PossessionUnproven,
    PreviousMismatch,
    RecoveryChanged,
    SetMalformed,
)
from pki.trust.keys import VERIFIED, CoseKey
from pki.trust.sets import EVERYWHERE, MAX_EPOCH, Kind, Role, RoleId, TrustSet
from pki.trust.thresholds import Threshold, require

MAX_SET = 1 << 16
MAX_CHAIN = 4096


@lru_cache(maxsize=256)  # a device's state is interpreted after every step, and holds the same few sets
def parse_set(message: bytes) -> tuple[TrustSet, SignMessage]:
    """B.1 and B.2: size, strict CBOR, typ. Proves nothing about who signed."""
    if len(message) > MAX_SET:
        raise SetMalformed(f"trust set has {len(message)} bytes, {MAX_SET} are allowed")  # B.1
    return open_sign(TrustSet, message)  # B.2


def verify_genesis(message: bytes) -> TrustSet:
    """The genesis set: (0, 0), following none, well formed, signed by every oem-root key that it names.

    That it is *the* genesis set is for the caller to know, by its hash. Raises a TrustError leaf.
    """
    new, signed = parse_set(message)  # B.1, B.2
    if (new.kind, new.index, new.previous) != (Kind.GENESIS, 0, None):
        raise IndexRefused("a genesis set is (0, 0), of kind 0, and follows none")  # B.4
    root = new.root
    members = frozenset(root.members)
    require(Threshold("oem-root", len(members), members, verified_kids(signed, new.keys)))  # B.5
    check_well_formed(new)  # B.7
    _check_spare_keys(new, frozenset())
    return new


def verify_link(old: TrustSet, message: bytes) -> TrustSet:
    """Verify that a set follows `old`, and return it. Raises a TrustError or CborInvalid leaf.

    B.1 size. B.2 strict CBOR, typ, fleet. B.4 kind and index, hash of the previous payload. B.5 old and new threshold,
    for recovery the commitment's and the new one. B.6 recovery field unchanged unless the old recovery threshold signed
    too. B.7 well formed. (B.3 and B.9 concern the banks of a device, B.8 the chain.)
    """
    new, signed = parse_set(message)  # B.1, B.2
    check_fleet(old, new.fleet)
    _check_index(old, new)  # B.4
    kids = verified_kids(signed, (*old.keys, *new.keys))
    committed = frozenset(old.recovery.thumbprints)
    recovery = Threshold("recovery keys", old.recovery.threshold, committed, kids)
    authority = recovery if new.kind is Kind.RECOVERY else _count("old oem-root", old.root, kids)
    require(authority, _count("new oem-root", new.root, kids))  # B.5
    if new.recovery != old.recovery and recovery.missing:  # B.6
        raise RecoveryChanged(
            "the recovery commitment changed without the signatures of the recovery keys",
            hint="keep field 9 as it is, or have the recovery threshold sign as well",
        )
    check_well_formed(new)  # B.7
    _check_spare_keys(new, committed)
    return new


def verify_chain(start: TrustSet, messages: Sequence[bytes]) -> TrustSet:
    """Verify link after link and return the last set; `start` itself for an empty chain.

    B.8: any failure raises, and whatever came before it in the chain counts for nothing.
    """
    if len(messages) > MAX_CHAIN:
        raise SetMalformed(f"chain has {len(messages)} sets, {MAX_CHAIN} are allowed")  # B.1
    for message in messages:
        start = verify_link(start, message)
    return start


def check_possession(old: TrustSet | None, message: bytes) -> None:
    """The service's rule on top: every key that is new to oem-root signs the set, which proves that it exists.

    Raises PossessionUnproven.
    """
    new, signed = parse_set(message)
    unproven = _new_roots(old, new) - verified_kids(signed, new.keys)
    if unproven:
        names = ", ".join(sorted(kid.hex()[:16] for kid in unproven))
        raise PossessionUnproven(f"new oem-root keys did not sign: {names}", hint="have every new root key sign")


def check_well_formed(trust_set: TrustSet) -> None:
    """B.7: the set does not contradict itself and every role can be satisfied. Raises SetMalformed.

    Every member in the key list and on its curve; threshold at most the number of distinct members; scopes of a role
    disjoint; no key in two roles, nor both in a role and in the recovery commitment or revoked; one oem-root group for
    everything; a counter group of two keys or more (E.1).
    """
    keys = trust_set.key_by_kid
    if len(keys) != len(trust_set.keys):
        raise SetMalformed("a key stands twice in the key list")
    _check_keys(keys.values())
    for role, groups in trust_set.roles.items():
        _check_groups(role, groups, keys.keys())
    role_of: dict[bytes, RoleId] = {}
    for kid, role in _memberships(trust_set):
        if role_of.setdefault(kid, role) is not role:
            raise SetMalformed(f"key {kid.hex()[:16]} is in two roles")
    if len(trust_set.roles.get(RoleId.OEM_ROOT, ())) != 1 or trust_set.root.scope is not None:
        raise SetMalformed("oem-root needs exactly one group, without a scope")
    if trust_set.recovery.threshold > len(set(trust_set.recovery.thumbprints)):
        raise SetMalformed("the recovery threshold is above the number of recovery keys")
    if not role_of.keys().isdisjoint((*trust_set.recovery.thumbprints, *trust_set.revoked)):
        raise SetMalformed("a key of a role is a recovery key or revoked as well")


def draft_trust_set(new: TrustSet, previous: TrustSet | None, signers: Sequence[CoseKey]) -> Draft:
    """A draft of `new`, to follow `previous` (None for genesis).

    signers: the old oem-root keys chosen to sign, or for a recovery set the recovery keys; the keys new to oem-root
    sign as well without being named, and a key that counts on both sides signs once. Whether the signers suffice is
    checked when the document is finished, by the rules that a device applies.
    """
    roots = _new_roots(previous, new)
    keys = (*signers, *(key for kid, key in sorted(new.key_by_kid.items()) if kid in roots))
    hash_hex = new.payload_sha256.hex()
    what: dict[str, Any] = {
        "fleet": new.fleet.hex(),
        "generation": new.generation,
        "epoch": new.epoch,
        "set_kind": new.kind.name.lower(),
        "hash": hash_hex,
    }

    def check(message: bytes) -> None:
        _ = verify_genesis(message) if previous is None else verify_link(previous, message)
        check_possession(previous, message)

    follows = f"follows ({previous.generation}, {previous.epoch})" if previous else "is the first"
    summary = f"Trust set ({new.generation}, {new.epoch}), {new.kind.name.lower()}, hash {hash_hex[:16]}, {follows}"
    return draft_sign(new, keys, summary=summary, what=what, check=check)


def _check_index(old: TrustSet, new: TrustSet) -> None:
    if new.kind is Kind.RECOVERY:
        wanted, previous = (old.generation + 1, 0), None
    elif new.kind in (Kind.PLANNED, Kind.EMERGENCY):
        wanted, previous = (old.generation, old.epoch + 1), old.payload_sha256
    else:
        raise IndexRefused("a genesis set follows no other")
    if (new.generation, new.epoch) != wanted:
        hint = "" if wanted[1] <= MAX_EPOCH else "this generation has no epoch left: only a recovery set follows"
        raise IndexRefused(f"set is ({new.generation}, {new.epoch}), {wanted} follows", hint=hint)
    if new.previous != previous:
        raise PreviousMismatch("set does not name the payload of the set that it follows")


def _count(whose: str, group: Role, kids: frozenset[bytes]) -> Threshold:
    return Threshold(whose, group.threshold, frozenset(group.members), kids)


def _check_groups(role: RoleId, groups: Sequence[Role], known: Set[bytes]) -> None:
    name = role.name.lower()
    for group in groups:
        if group.threshold > len(set(group.members)):
            raise SetMalformed(f"a group of role {name} has a threshold above its members")
        if not known >= set(group.members):
            raise SetMalformed(f"a group of role {name} names a key that is not in the key list")
        if role is RoleId.COUNTER and group.threshold < 2:
            raise SetMalformed("a counter group needs a threshold of 2 or more")
    if any((a.scope or EVERYWHERE).overlaps(b.scope or EVERYWHERE) for a, b in combinations(groups, 2)):
        raise SetMalformed(f"groups of role {name} have scopes that overlap")


def _memberships(trust_set: TrustSet) -> Iterator[tuple[bytes, RoleId]]:
    for role, groups in trust_set.roles.items():
        yield from ((kid, role) for group in groups for kid in group.members)


def _check_keys(keys: Iterable[CoseKey]) -> None:
    try:
        for key in keys:
            if key.alg in VERIFIED:
                key.to_spki()
    except CoseKeyInvalid as error:
        raise SetMalformed(error.message) from error


def _check_spare_keys(new: TrustSet, committed: frozenset[bytes]) -> None:
    """A key without a role is listed only when it is a recovery key of the set before."""
    named = {kid for kid, _ in _memberships(new)}
    if not new.key_by_kid.keys() <= named | committed:
        raise SetMalformed("the key list has a key that no role names")


def _new_roots(old: TrustSet | None, new: TrustSet) -> frozenset[bytes]:
    before: frozenset[bytes] = frozenset(old.root.members) if old else frozenset()
    return frozenset(new.root.members) - before
