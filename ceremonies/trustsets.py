"""Trust sets in terms of the keyring: from a plan with labels to the set, and back from the store."""

import hashlib
from collections.abc import Callable, Mapping, Sequence

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from ceremonies.errors import KeyroomError
from ceremonies.fleet import Fleet
from ceremonies.keyring import KeyEntry, Keyring
from ceremonies.orders import KeyPlan, Sealed
from ceremonies.plans import PlanMalformed, SetPlan, Threshold
from ceremonies.store import Change, Insert, Store
from ceremonies.tables import TrustSetRow
from pki.trust.keys import CoseKey
from pki.trust.links import parse_set
from pki.trust.sets import Dates, Domain, Kind, Limits, RecoveryCommitment, Role, RoleId, Scope, Transition, TrustSet

ROLES: dict[str, RoleId] = {role.name.lower().replace("_", "-"): role for role in RoleId}
CURVES: dict[str, ec.EllipticCurve] = {"p256": ec.SECP256R1(), "p384": ec.SECP384R1()}
DAY = 86_400


class NoTrustSet(KeyroomError):
    """No trust set is published yet, or not this one."""

    code = "no-trust-set"


def cose_key(store: Store, spki: str) -> CoseKey:
    """The COSE_Key of a published key. Raises NoTrustSet when its public half is not there."""
    der = store.blob(spki)
    if der is None:
        raise NoTrustSet(f"the public half of key {spki[:16]} is not published")
    return CoseKey.from_spki(der)


class KeyBook(msgspec.Struct, frozen=True):
    """Keys by label, with the public halves that are published: the keyroom's, or those of a rehearsal."""

    keyring: Keyring
    find: Callable[[str], bytes | None]

    def public_key(self, label: str) -> bytes:
        """SPKI DER of a key. Raises KeyUnknown, and NoTrustSet when it is not published."""
        key = self.keyring.labelled(label)
        der = self.find(key.spki)
        if der is None:
            raise NoTrustSet(f"the public half of key {label} is not published")
        return der

    def thumbprint(self, label: str, role: str) -> bytes:
        """COSE Key Thumbprint of a key of this role. Raises KeyUnknown, PlanMalformed."""
        key = self.keyring.labelled(label)
        if key.role != role:
            raise PlanMalformed(f"trust set: key {label} is no {role} key", hint="one key, one purpose")
        return bytes.fromhex(key.thumbprint)


def rehearse_keys(plans: Sequence[KeyPlan]) -> KeyBook:
    """Throw-away keys in the place of a plan's keys: what is drafted with them shows what the plan lacks."""
    entries, found = [], {}
    for plan in plans:
        seed = hashlib.sha256(plan.label.encode()).digest()
        private: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
        if plan.algorithm == "ed25519":
            private = ed25519.Ed25519PrivateKey.from_private_bytes(seed)
        else:
            private = ec.derive_private_key(int.from_bytes(seed) >> 1, CURVES[plan.algorithm])
        der = private.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        key = CoseKey.from_spki(der)
        spki = hashlib.sha256(der).hexdigest()
        found[spki] = der
        entries.append(
            KeyEntry(
                spki=spki, label=plan.label, role=plan.role, scope=plan.scope, algorithm=plan.algorithm, cka_id="",
                token=plan.token, token_serial="", thumbprint=key.thumbprint.hex(), state="active", uses=0,
            )
        )  # fmt: skip
    return KeyBook(Keyring(entries), found.get)


def build_set(book: KeyBook, fleet: Fleet, plan: SetPlan, previous: TrustSet | None, issued_at: int) -> TrustSet:
    """The set that a plan describes, to follow `previous` (None for genesis) as a planned one.

    Raises PlanMalformed for a role that does not exist or a recovery commitment that differs from the previous set's,
    KeyUnknown for a label.
    """
    unknown = sorted(plan.roles.keys() - ROLES.keys())
    if unknown:
        raise PlanMalformed(f"trust set: no role {unknown[0]}", hint=f"roles: {', '.join(ROLES)}")
    roles = {
        ROLES[name]: tuple(_group(book, fleet, group, name) for group in groups) for name, groups in plan.roles.items()
    }
    labels = {label for groups in plan.roles.values() for group in groups for label in group.labels}
    keys = [CoseKey.from_spki(book.public_key(label)) for label in labels]
    committed = sorted(book.thumbprint(label, "recovery") for label in plan.recovery.labels)
    recovery = RecoveryCommitment(plan.recovery.threshold, tuple(committed))
    if previous is not None and recovery != previous.recovery:
        raise PlanMalformed("trust set: the recovery commitment differs", hint="only recovery keys change it")
    return TrustSet(
        fleet=fleet.fleet_id,
        generation=previous.generation if previous else 0,
        epoch=previous.epoch + 1 if previous else 0,
        previous=previous.payload_sha256 if previous else None,
        kind=Kind.PLANNED if previous else Kind.GENESIS,
        keys=tuple(sorted(keys, key=lambda key: key.thumbprint)),
        roles=roles,
        recovery=recovery,
        revoked=(),
        limits=_limits(fleet, plan),
        dates=Dates(issued_at, issued_at + plan.refresh_days * DAY),
        transition=Transition(plan.both_slots, plan.max_trial_boots, False),
    )


def _group(book: KeyBook, fleet: Fleet, group: Threshold, role: str) -> Role:
    scope = Scope(classes=(fleet.class_id(group.class_name),)) if group.class_name else None
    return Role(group.threshold, tuple(sorted(book.thumbprint(label, role) for label in group.labels)), scope)


def _limits(fleet: Fleet, plan: SetPlan) -> Mapping[bytes, Mapping[Domain, Limits]]:
    limits: dict[bytes, dict[Domain, Limits]] = {}
    for item in plan.limits:
        limits.setdefault(fleet.class_id(item.class_name), {})[Domain(item.domain)] = Limits(
            item.max_step, item.maximum
        )
    return limits


def set_changes(trust_set: TrustSet, sealed: Sealed) -> list[Change]:
    """The row of a published set."""
    row = {"index": trust_set.index, "payload_sha256": trust_set.payload_sha256.hex(), "document": sealed.sha256}
    return [Insert(TrustSetRow, row)]


def load_sets(store: Store, start: int = 0) -> list[tuple[TrustSet, bytes]]:
    """Published sets from an order index on, oldest first, each with its signed document."""
    found = []
    for row in store.list(TrustSetRow, "index"):
        if row["index"] >= start:
            document = store.blob(row["document"]) or b""
            found.append((parse_set(document)[0], document))
    return found


def newest_set(store: Store) -> TrustSet:
    """The set with the highest order index. Raises NoTrustSet."""
    sets = load_sets(store)
    if not sets:
        raise NoTrustSet("no trust set is published", hint="hold the genesis ceremony")
    return sets[-1][0]


def signing_keys(store: Store, keyring: Keyring, group: Role, count: int | None = None) -> list[CoseKey]:
    """Active keys of the keyroom that are members of a group, as many as its threshold (or `count`).

    Raises NoTrustSet when there are fewer.
    """
    wanted = group.threshold if count is None else count
    kids = {kid.hex() for kid in group.members}
    active = [key for key in keyring if key.thumbprint in kids and key.state == "active"]
    if len(active) < wanted:
        raise NoTrustSet(f"{len(active)} of {wanted} keys of the group are active here", hint="resume or rotate keys")
    return [cose_key(store, key.spki) for key in sorted(active, key=lambda key: key.label)[:wanted]]
