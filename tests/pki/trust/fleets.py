"""A fleet of soft keys: trust sets and messages for tests, signed with keys that a test can name."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from pki.drafts import Draft
from pki.signatures import der_to_raw, spki_der, spki_sha256
from pki.trust.cose import Sign1Message, Signature, SignMessage, encode_sign, encode_sign1, sign1_bytes, sign_bytes
from pki.trust.keys import CoseKey
from pki.trust.payloads import Payload
from pki.trust.sets import (
    Dates,
    Domain,
    Kind,
    Limits,
    RecoveryCommitment,
    Role,
    RoleId,
    Scope,
    Transition,
    TrustSet,
)
from pki.trust.targets import Target

FLEET, CLASS, OTHER_CLASS, VENDOR, SITE, CAMPAIGN = (bytes([letter]) * 16 for letter in b"fcovsa")


class SoftKey(msgspec.Struct, frozen=True):
    """A private key in memory, with its public half as Kedge names it."""

    private: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
    key: CoseKey

    @property
    def kid(self) -> bytes:
        return self.key.thumbprint

    @property
    def spki(self) -> bytes:
        return self.key.to_spki()

    def sign(self, data: bytes) -> bytes:
        """A raw signature, as the strongbox returns it."""
        if isinstance(self.private, ed25519.Ed25519PrivateKey):
            return self.private.sign(data)
        size = self.private.curve.key_size // 8
        algorithm = hashes.SHA256() if size == 32 else hashes.SHA384()
        return der_to_raw(self.private.sign(data, ec.ECDSA(algorithm)), size)


@lru_cache(maxsize=256)
def soft_key(number: int, kind: str = "P-256") -> SoftKey:
    """The test key of this number; the same in every run."""
    private: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
    if kind == "Ed25519":
        private = ed25519.Ed25519PrivateKey.from_private_bytes(number.to_bytes(32, "big"))
    else:
        private = ec.derive_private_key(number, ec.SECP256R1() if kind == "P-256" else ec.SECP384R1())
    return SoftKey(private, CoseKey.from_spki(spki_der(private.public_key())))


ROOTS = tuple(soft_key(number) for number in (101, 102, 103))
RECOVERY = tuple(soft_key(number) for number in (111, 112, 113))
MANIFEST, IMAGE, DIRECTOR = soft_key(121), soft_key(131), soft_key(151)
COUNTERS = (soft_key(141), soft_key(142))
STRANGER = soft_key(199)


def group(threshold: int, *members: SoftKey, scope: Scope | None = None) -> tuple[Role, ...]:
    """A role of one group."""
    return (Role(threshold, tuple(member.kid for member in members), scope),)


def keys_of(*members: SoftKey) -> tuple[CoseKey, ...]:
    """The public halves."""
    return tuple(member.key for member in members)


def genesis(**changes: Any) -> TrustSet:
    """Trust set (0, 0): 2 of 3 roots, 2 of 3 recovery keys, one signer per role, two counter keys."""
    roles: Mapping[RoleId, tuple[Role, ...]] = {
        RoleId.OEM_ROOT: group(2, *ROOTS),
        RoleId.MANIFEST_SIGNER: group(1, MANIFEST),
        RoleId.IMAGE_APP: group(1, IMAGE, scope=Scope(classes=(CLASS,), domains=(Domain.APP,))),
        RoleId.COUNTER: group(2, *COUNTERS),
        RoleId.DIRECTOR: group(1, DIRECTOR),
    }
    first = TrustSet(
        fleet=FLEET,
        generation=0,
        epoch=0,
        previous=None,
        kind=Kind.GENESIS,
        keys=keys_of(*ROOTS, MANIFEST, IMAGE, *COUNTERS, DIRECTOR),
        roles=roles,
        recovery=RecoveryCommitment(2, tuple(key.kid for key in RECOVERY)),
        revoked=(),
        limits={CLASS: {Domain.APP: Limits(max_step=4, maximum=100)}},
        dates=Dates(1_790_000_000),
        transition=Transition(both_slots=True, max_trial_boots=3, operator_cosign=False),
    )
    return msgspec.structs.replace(first, **changes)


def following(old: TrustSet, **changes: Any) -> TrustSet:
    """The planned set after `old`, with what a test changes."""
    planned: dict[str, Any] = {"kind": Kind.PLANNED, "epoch": old.epoch + 1, "previous": old.payload_sha256}
    return msgspec.structs.replace(old, **(planned | changes))


def recovering(old: TrustSet, **changes: Any) -> TrustSet:
    """The recovery set after `old`, which lists the recovery keys."""
    planned: dict[str, Any] = {"kind": Kind.RECOVERY, "generation": old.generation + 1, "epoch": 0, "previous": None}
    return msgspec.structs.replace(old, **(planned | {"keys": (*old.keys, *keys_of(*RECOVERY))} | changes))


def with_root(old: TrustSet, threshold: int, *roots: SoftKey) -> dict[str, Any]:
    """The changes that give a set other roots."""
    leaving = set(old.root.members)
    kept = tuple(key for key in old.keys if key.thumbprint not in leaving)
    return {"keys": (*keys_of(*roots), *kept), "roles": {**old.roles, RoleId.OEM_ROOT: group(threshold, *roots)}}


def signature_by(payload: Payload, signer: SoftKey) -> Signature:
    """One signature of a COSE_Sign."""
    data = sign_bytes(payload.typ(), signer.key, payload.to_payload())
    return Signature(signer.kid, signer.key.alg, signer.sign(data))


def sign(payload: Payload, *signers: SoftKey) -> bytes:
    """A COSE_Sign by whichever keys a test wants, checked by nobody."""
    signatures = tuple(signature_by(payload, signer) for signer in signers)
    return encode_sign(SignMessage(payload.to_payload(), payload.typ(), signatures))


def sign1(payload: Payload, signer: SoftKey) -> bytes:
    """A COSE_Sign1 by whichever key a test wants, checked by nobody."""
    data = sign1_bytes(payload.typ(), signer.key, payload.to_payload())
    signature = Signature(signer.kid, signer.key.alg, signer.sign(data))
    return encode_sign1(Sign1Message(payload.to_payload(), payload.typ(), signature))


def finish(draft: Draft, *signers: SoftKey) -> bytes:
    """Sign a draft's bytes with the keys that it names, and finish it."""
    by_spki = {spki_sha256(signer.spki): signer for signer in signers}
    return draft.finish({item.spki: by_spki[item.spki].sign(item.data) for item in draft.to_sign})


def target(**changes: Any) -> Target:
    """Every device of the class."""
    return msgspec.structs.replace(Target(VENDOR, CLASS, ((0, 9),)), **changes)
