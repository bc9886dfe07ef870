"""Trust sets: which keys may do what, and how the next set comes to be (docs/trust.cddl, `trust-set`).

Identifiers are bytes: a `kid` is the 32-byte SHA-256 COSE Key Thumbprint (RFC 9679), a fleet, class or site is the
16 bytes of a UUID. Times are seconds since 1970 and advise only: no verdict depends on them.
"""

import enum
import hashlib
from collections.abc import Mapping
from functools import cached_property

import msgspec

from pki.trust import cbor
from pki.trust.errors import RoleUndefined
from pki.trust.keys import COSE_KEY, CoseKey
from pki.trust.payloads import Payload
from pki.trust.shapes import (
    BOOL,
    HASH,
    SECONDS,
    UUID,
    Field,
    array,
    choice,
    distinct,
    integer,
    non_empty,
    nullable,
    record,
    row,
    table,
    uint,
)

MAX_GENERATION = 254
MAX_EPOCH = 63


class Kind(enum.IntEnum):
    """How a set follows the one before."""

    GENESIS = 0
    PLANNED = 1
    EMERGENCY = 2
    RECOVERY = 3


class RoleId(enum.IntEnum):
    """The roles that a set can name."""

    OEM_ROOT = 1
    MANIFEST_SIGNER = 2
    IMAGE_BOOT = 3
    IMAGE_APP = 4
    IMAGE_CONFIG = 5
    IMAGE_GOLDEN = 6
    COUNTER = 7
    SITE_DELEGATE = 8
    DIRECTOR = 9


class Domain(enum.IntEnum):
    """The anti-rollback counter domains of a class."""

    TRUST = 0
    BOOT = 1
    APP = 2
    CONFIG = 3
    GOLDEN = 4


class SetRef(msgspec.Struct, frozen=True):
    """Names one trust set. `hash` is SHA-256 of its payload (never of the signed object)."""

    generation: int
    epoch: int
    hash: bytes

    @property
    def index(self) -> int:
        """The order index, 64 * generation + epoch."""
        return 64 * self.generation + self.epoch


class Scope(msgspec.Struct, frozen=True):
    """Where a role group counts. None means everywhere; at least one of the three is given."""

    classes: tuple[bytes, ...] | None = None
    domains: tuple[Domain, ...] | None = None
    sites: tuple[bytes, ...] | None = None

    def covers(self, class_id: bytes | None, domain: int | None, site: bytes | None) -> bool:
        """Whether it covers this class, domain and site. None asks for all of them: only None covers that."""
        wanted = ((self.classes, class_id), (self.domains, domain), (self.sites, site))
        return all(allowed is None or item in allowed for allowed, item in wanted)

    def overlaps(self, other: "Scope") -> bool:
        """Whether something is covered by both."""
        axes = ((self.classes, other.classes), (self.domains, other.domains), (self.sites, other.sites))
        return all(one is None or two is None or not set(one).isdisjoint(two) for one, two in axes)


EVERYWHERE = Scope()


class Role(msgspec.Struct, frozen=True):
    """One group of a role: `threshold` distinct keys of `members` (kids) decide, inside `scope` (None: everywhere)."""

    threshold: int
    members: tuple[bytes, ...]
    scope: Scope | None = None


class RecoveryCommitment(msgspec.Struct, frozen=True):
    """Threshold and thumbprints of recovery keys whose public halves were never published."""

    threshold: int
    thumbprints: tuple[bytes, ...]


class Limits(msgspec.Struct, frozen=True):
    """What one counter update may do: largest step, and the absolute maximum of the floor."""

    max_step: int
    maximum: int


class Transition(msgspec.Struct, frozen=True):
    """How devices move to this set."""

    both_slots: bool
    max_trial_boots: int
    operator_cosign: bool


class Dates(msgspec.Struct, frozen=True):
    """Seconds since 1970: when it was made, and when to look for a newer one. Advisory, never a reason not to boot."""

    issued_at: int
    refresh_after: int | None = None


class TrustSet(Payload, frozen=True):
    """One trust set (generation g, epoch e).

    previous: SHA-256 of the payload of the set that this one follows; None for genesis and recovery.
    keys: every key that a role names; in a recovery set the recovery keys that signed it as well.
    roles: for each role its groups, with disjoint scopes.
    revoked: kids that may not be used for new installs from the moment this set is pending; () when there are none.
    limits: by class id, then by domain.
    """

    NAME = "trust-set"

    fleet: bytes
    generation: int
    epoch: int
    previous: bytes | None
    kind: Kind
    keys: tuple[CoseKey, ...]
    roles: Mapping[RoleId, tuple[Role, ...]]
    recovery: RecoveryCommitment
    revoked: tuple[bytes, ...]
    limits: Mapping[bytes, Mapping[Domain, Limits]]
    dates: Dates
    transition: Transition

    @property
    def index(self) -> int:
        """The order index, 64 * generation + epoch."""
        return 64 * self.generation + self.epoch

    @cached_property
    def ref(self) -> SetRef:
        """How other messages name this set."""
        return SetRef(self.generation, self.epoch, self.payload_sha256)

    @cached_property
    def key_by_kid(self) -> Mapping[bytes, CoseKey]:
        """Its keys by computed thumbprint."""
        return {key.thumbprint: key for key in self.keys}

    @cached_property
    def recovery_hash(self) -> bytes:
        """SHA-256 of the encoding of its recovery field, as receipts report it."""
        return hashlib.sha256(cbor.encode(_RECOVERY.write(self.recovery))).digest()

    def group(
        self,
        role: RoleId,
        *,
        class_id: bytes | None = None,
        domain: int | None = None,
        site: bytes | None = None,
    ) -> Role:
        """The group of a role that decides for this class, domain and site; None asks for all of them.

        Raises RoleUndefined when none covers it: an empty policy refuses.
        """
        for group in self.roles.get(role, ()):
            if (group.scope or EVERYWHERE).covers(class_id, domain, site):
                return group
        raise RoleUndefined(
            f"trust set ({self.generation}, {self.epoch}) has no group of role {role.name.lower()} for this scope",
            hint="name a group whose scope covers the class, domain and site in the next set",
        )

    @property
    def root(self) -> Role:
        """The group of oem-root, which covers everything. Raises RoleUndefined."""
        return self.group(RoleId.OEM_ROOT)


KID = HASH
CLASS_ID = UUID
DOMAIN = choice(Domain)
SET_REF = row(SetRef, Field("generation", uint(MAX_GENERATION)), Field("epoch", uint(MAX_EPOCH)), Field("hash", HASH))
DATES = record(Dates, {1: Field("issued_at", SECONDS), 2: Field("refresh_after", SECONDS, None)})

_SCOPE = non_empty(
    record(
        Scope,
        {
            1: Field("classes", distinct(CLASS_ID), None),
            2: Field("domains", distinct(DOMAIN), None),
            3: Field("sites", distinct(UUID), None),
        },
    )
)
_ROLE = record(
    Role,
    {
        1: Field("threshold", integer(1, 64)),
        2: Field("members", distinct(KID, high=64)),
        3: Field("scope", _SCOPE, None),
    },
)
_RECOVERY = record(
    RecoveryCommitment, {1: Field("threshold", integer(1, 64)), 2: Field("thumbprints", distinct(KID, high=64))}
)
_LIMITS = record(Limits, {1: Field("max_step", uint()), 2: Field("maximum", uint())})
_TRANSITION = record(
    Transition,
    {1: Field("both_slots", BOOL), 2: Field("max_trial_boots", uint()), 3: Field("operator_cosign", BOOL)},
)
TrustSet.shape = record(
    TrustSet,
    {
        2: Field("fleet", UUID),
        3: Field("generation", uint(MAX_GENERATION)),
        4: Field("epoch", uint(MAX_EPOCH)),
        5: Field("previous", nullable(HASH)),
        6: Field("kind", choice(Kind)),
        7: Field("keys", distinct(COSE_KEY, high=256)),
        8: Field("roles", table(choice(RoleId), array(_ROLE, high=256))),
        9: Field("recovery", _RECOVERY),
        10: Field("revoked", distinct(KID), ()),
        11: Field("limits", table(CLASS_ID, table(DOMAIN, _LIMITS), low=0)),
        12: Field("dates", DATES),
        13: Field("transition", _TRANSITION),
    },
    marks={1: 1},
)
