"""A fleet around one device: honest keys and sets, a thief with whatever was stolen, and every message ever made."""

from collections.abc import Sequence
from functools import cache, lru_cache
from random import Random
from typing import Any

import msgspec

from pki.trust.rehearsal import Release
from pki.trust.sets import (
    Dates,
    Domain,
    Kind,
    Limits,
    RecoveryCommitment,
    RoleId,
    Scope,
    Transition,
    TrustSet,
)
from tests.pki.trust import fleets
from tests.pki.trust.devices import image, manifest_for
from tests.pki.trust.fleets import CLASS, FLEET, SoftKey, group, soft_key

ROOT, MANIFEST, IMAGE, COUNTER, DIRECTOR, RECOVERY, THIEF = range(7)


@cache
def key(purpose: int, number: int) -> SoftKey:
    return soft_key(10_000 * (purpose + 1) + number)


class _Once(msgspec.Struct, frozen=True, eq=False):
    """A payload as a cache key: by type and hash, because sets hold dicts."""

    payload: Any

    def __hash__(self) -> int:
        return hash(self.payload.payload_sha256)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Once) and self.payload.payload_sha256 == other.payload.payload_sha256


@lru_cache(maxsize=1 << 16)
def _sign_once(once: _Once, signers: tuple[SoftKey, ...]) -> bytes:
    return fleets.sign(once.payload, *signers)


def sign(payload: Any, signers: Sequence[SoftKey]) -> bytes:
    """Histories make the same messages very often."""
    return _sign_once(_Once(payload), tuple(dict.fromkeys(signers)))


class Keys(msgspec.Struct, frozen=True):
    """The private side of one trust set."""

    roots: tuple[SoftKey, ...]
    manifest: SoftKey
    image: SoftKey
    counters: tuple[SoftKey, ...]
    recovery: tuple[SoftKey, ...]

    @property
    def all(self) -> tuple[SoftKey, ...]:
        """Every key that a thief can get at; recovery keys were never out of the safe."""
        return (*self.roots, self.manifest, self.image, *self.counters)


class MadeImage(msgspec.Struct, frozen=True):
    """Who signed an image, and its security version."""

    kids: frozenset[bytes]
    security: int


class SignedSet(msgspec.Struct, frozen=True):
    """A set, its message, and the keys behind it. `legitimate`: made with a threshold of the keys of the one before."""

    trust_set: TrustSet
    message: bytes
    keys: Keys
    legitimate: bool
    honest: bool


def build_set(keys: Keys, **fields: Any) -> TrustSet:
    """A set of these keys; `fields` are kind, generation, epoch, previous and what a test bends."""
    scope = Scope(classes=(CLASS,), domains=(Domain.APP,))
    director = key(DIRECTOR, 0)
    names = (*keys.roots, keys.manifest, keys.image, *keys.counters, director)
    extra = fields.pop("extra_keys", ())
    plain: dict[str, Any] = {
        "fleet": FLEET,
        "keys": tuple(item.key for item in (*names, *extra)),
        "roles": {
            RoleId.OEM_ROOT: group(2, *keys.roots),
            RoleId.MANIFEST_SIGNER: group(1, keys.manifest),
            RoleId.IMAGE_APP: group(1, keys.image, scope=scope),
            RoleId.COUNTER: group(2, *keys.counters),
            RoleId.DIRECTOR: group(1, director),
        },
        "recovery": RecoveryCommitment(2, tuple(item.kid for item in keys.recovery)),
        "revoked": (),
        "limits": {CLASS: {Domain.APP: Limits(max_step=3, maximum=1000)}},
        "dates": Dates(1_790_000_000),
        "transition": Transition(both_slots=False, max_trial_boots=2, operator_cosign=False),
    }
    return TrustSet(**(plain | fields))


class World:
    """One history's fleet. `chain` is the honest line of sets, `sets` every set ever signed, by message."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.numbers = [0] * 7
        self.sets: dict[bytes, SignedSet] = {}
        self.images: dict[bytes, MadeImage] = {}
        self.messages: list[tuple[str, Any]] = []
        self.stolen: list[SoftKey] = []
        self.sequence = 0
        keys = self._fresh_keys()
        first = build_set(keys, kind=Kind.GENESIS, generation=0, epoch=0, previous=None)
        self.chain = [self.record(first, keys.roots, keys, legitimate=True, honest=True)]

    @property
    def head(self) -> SignedSet:
        return self.chain[-1]

    @property
    def root_stolen(self) -> bool:
        """Whether the thief has a root threshold of some honest set of this generation."""
        return any(self._stolen_roots(item) >= 2 for item in self.sets.values())

    def record(
        self, trust_set: TrustSet, signers: Sequence[SoftKey], keys: Keys, *, legitimate: bool, honest: bool
    ) -> SignedSet:
        message = sign(trust_set, signers)
        signed = SignedSet(trust_set, message, keys, legitimate, honest)
        self.sets.setdefault(message, signed)
        return signed

    def rotate(self, kind: Kind) -> SignedSet:
        """The next honest set: planned changes something, emergency everything that was stolen, recovery everything."""
        old, keys = self.head, self._next_keys(kind)
        trust_set = old.trust_set
        if kind is Kind.RECOVERY:
            extra = tuple(item for item in old.keys.recovery)
            new = build_set(
                keys, kind=kind, generation=trust_set.generation + 1, epoch=0, previous=None, extra_keys=extra,
                **self._variety(),
            )  # fmt: skip
            signers = (*old.keys.recovery, *keys.roots)
        else:
            new = build_set(
                keys, kind=kind, generation=trust_set.generation, epoch=trust_set.epoch + 1,
                previous=trust_set.payload_sha256, **self._variety(),
            )  # fmt: skip
            signers = (*old.keys.roots, *keys.roots)
        self.chain.append(self.record(new, signers, keys, legitimate=True, honest=True))
        return self.head

    def release(self, under: SignedSet, *image_keys: SoftKey, security: int, **changes: Any) -> Release:
        """An image and its manifest under a set, with the next sequence."""
        self.sequence += 1
        version = (2, self.sequence % 16, 0, 0)
        data = self.image(*image_keys, security=security, version=version)
        by: SoftKey = changes.pop("by", under.keys.manifest)
        changes.setdefault("sequence", self.sequence)
        manifest = manifest_for(under.trust_set, data, *image_keys, **changes)
        made = Release(sign(manifest, [by]), data)
        self.messages.append(("release", made))
        return made

    def image(self, *image_keys: SoftKey, security: int, version: tuple[int, int, int, int] = (2, 3, 0, 0)) -> bytes:
        data = image(*image_keys, security=security, version=version)
        self.images[data] = MadeImage(frozenset(item.kid for item in image_keys), security)
        return data

    def steal(self, *, threshold: bool) -> None:
        """One key of the head; or as many of its roots as sign for it."""
        keys = self.head.keys
        if threshold:
            self.stolen.extend(keys.roots[:2])
        else:
            self.stolen.append(self.rng.choice(keys.all))

    def forge(self, base: SignedSet) -> SignedSet:
        """A set after `base` with the thief's keys in every role, signed by whatever was stolen."""
        mine = self._fresh(THIEF, 7)
        keys = Keys(mine[:3], mine[3], mine[4], mine[5:], base.keys.recovery)
        fields: dict[str, Any] = {
            "kind": self.rng.choice([Kind.PLANNED, Kind.EMERGENCY]),
            "generation": base.trust_set.generation,
            "epoch": base.trust_set.epoch + 1,
            "previous": base.trust_set.payload_sha256,
            "limits": {CLASS: {Domain.APP: Limits(max_step=1 << 20, maximum=1 << 30)}},
        }
        evicts = self.rng.random() < 0.3
        if evicts:
            keys = msgspec.structs.replace(keys, recovery=self._fresh(THIEF, 3))
        signers = (*[item for item in self.stolen if item in base.keys.roots], *keys.roots)
        legitimate = self._stolen_roots(base) >= 2 and not evicts
        return self.record(build_set(keys, **fields), signers, keys, legitimate=legitimate, honest=False)

    def _stolen_roots(self, base: SignedSet) -> int:
        mine = {item.kid for item in self.stolen}
        return sum(item.kid in mine or not base.honest for item in base.keys.roots)

    def _fresh(self, purpose: int, count: int) -> tuple[SoftKey, ...]:
        start = self.numbers[purpose]
        self.numbers[purpose] += count
        return tuple(key(purpose, number) for number in range(start, start + count))

    def _fresh_key(self, purpose: int) -> SoftKey:
        return self._fresh(purpose, 1)[0]

    def _fresh_keys(self) -> Keys:
        roots, recovery = self._fresh(ROOT, 3), self._fresh(RECOVERY, 3)
        return Keys(roots, self._fresh_key(MANIFEST), self._fresh_key(IMAGE), self._fresh(COUNTER, 2), recovery)

    def _next_keys(self, kind: Kind) -> Keys:
        old, rng = self.head.keys, self.rng
        if kind is Kind.RECOVERY:
            return self._fresh_keys()
        gone = set(self.stolen) if kind is Kind.EMERGENCY else set()
        return Keys(
            (*old.roots[1:], *self._fresh(ROOT, 1)) if gone & set(old.roots) or rng.random() < 0.3 else old.roots,
            self._fresh_key(MANIFEST) if old.manifest in gone or rng.random() < 0.3 else old.manifest,
            self._fresh_key(IMAGE) if old.image in gone or rng.random() < 0.8 else old.image,
            self._fresh(COUNTER, 2) if gone & set(old.counters) or rng.random() < 0.2 else old.counters,
            old.recovery,
        )

    def _variety(self) -> dict[str, Any]:
        issued = self.rng.choice([0, 1_790_000_000, 1 << 40])
        both = self.rng.random() < 0.3
        return {
            "dates": Dates(issued, self.rng.choice([None, 1])),
            "transition": Transition(both_slots=both, max_trial_boots=self.rng.randrange(4), operator_cosign=False),
        }
