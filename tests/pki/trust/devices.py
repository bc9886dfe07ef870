"""Devices of the test fleet: their class profile, signed MCUboot images, releases, and power that fails."""

import hashlib
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import msgspec

from pki.errors import PkiError
from pki.formats.mcuboot import draft_image, prepare_image, read_image
from pki.formats.mcuboot_verify import VerifiedImage, verify_image
from pki.trust.counters import CounterUpdate, FloorRaise
from pki.trust.device import Device
from pki.trust.device_memory import Memory
from pki.trust.device_profile import ATECC608B, ClassProfile, Identity
from pki.trust.manifests import Component, FirmwareManifest, PayloadFormat, Segment
from pki.trust.receipts import compute_ueid
from pki.trust.rehearsal import Release
from pki.trust.sets import Domain, TrustSet
from pki.trust.targets import SHA256, Digest, Range
from tests.pki.formats.mcuboot_images import build_image
from tests.pki.trust.fleets import (
    CLASS,
    COUNTERS,
    FLEET,
    IMAGE,
    MANIFEST,
    ROOTS,
    SITE,
    VENDOR,
    SoftKey,
    finish,
    following,
    genesis,
    group,
    sign,
    soft_key,
    target,
)

GENESIS = genesis()
GENESIS_MESSAGE = sign(GENESIS, *ROOTS)
NEW_IMAGE = soft_key(132)
IDENTITY = Identity(
    ueid=compute_ueid(soft_key(161).spki), genesis=GENESIS.payload_sha256, site=SITE, region="EU", bank_key=b"k" * 32
)


@lru_cache(maxsize=1 << 16)
def _judge(data: bytes, keys: tuple[bytes, ...]) -> VerifiedImage | PkiError:
    try:
        return verify_image(data, keys)
    except PkiError as refusal:
        return refusal


def remembered(data: bytes, keys: tuple[bytes, ...]) -> VerifiedImage:
    """`verify_image`, which is pure, with a memory: histories meet the same images very often."""
    verdict = _judge(data, keys)
    if isinstance(verdict, PkiError):
        raise verdict
    return verdict


PROFILE = ClassProfile(
    fleet=FLEET,
    vendor_id=VENDOR,
    class_id=CLASS,
    hardware_revision=3,
    bootloader=(1, 2, 0),
    counters={Domain.TRUST: ATECC608B, Domain.APP: ATECC608B},
    verify_image=remembered,
    slot_size=4096,
)


@lru_cache(maxsize=1 << 14)
def image(
    *signers: SoftKey, security: int = 1, version: tuple[int, int, int, int] = (2, 3, 0, 0), class_id: bytes = CLASS
) -> bytes:
    """A signed MCUboot image; the signatures stand in the order of the signers."""
    prepared = prepare_image(
        read_image(build_image(version=version)), security_counter=security, class_id=class_id, vendor_id=VENDOR
    )
    return finish(draft_image(prepared, [key.spki for key in signers], summary="", what={}), *signers)


def manifest_for(trust_set: TrustSet, data: bytes, *signers: SoftKey, **changes: Any) -> FirmwareManifest:
    """A manifest for an image; changes named `component_...` go into the component."""
    facts, digest = read_image(data), Digest(SHA256, hashlib.sha256(data).digest())
    inner = {name[10:]: changes.pop(name) for name in list(changes) if name.startswith("component_")}
    component = Component(
        Domain.APP,
        facts.version,
        facts.security_counter or 0,
        len(data),
        digest,
        (Segment(0, len(data), digest),),
        PayloadFormat.MCUBOOT,
        tuple(signer.kid for signer in signers),
    )
    component = msgspec.structs.replace(component, **inner)
    plain = FirmwareManifest(FLEET, b"m" * 16, 1, trust_set.ref, target(), component, Range((1, 0), (2, 0)))
    return msgspec.structs.replace(plain, **changes)


def release(
    trust_set: TrustSet,
    *image_keys: SoftKey,
    security: int = 1,
    version: tuple[int, int, int, int] = (2, 3, 0, 0),
    by: tuple[SoftKey, ...] = (MANIFEST,),
    **changes: Any,
) -> Release:
    """An image by these keys and its manifest under a set."""
    data = image(*image_keys, security=security, version=version)
    return Release(sign(manifest_for(trust_set, data, *image_keys, **changes), *by), data)


def floor_raise(
    trust_set: TrustSet,
    floor_from: int,
    floor_to: int,
    *,
    sequence: int = 1,
    slots: int = 1,
    soak: int = 0,
    by: tuple[SoftKey, ...] = COUNTERS,
) -> bytes:
    """A counter update for the domain of the slots."""
    raises = (FloorRaise(Domain.APP, floor_from, floor_to, slots),)
    return sign(CounterUpdate(FLEET, sequence, trust_set.ref, target(), raises, soak), *by)


def planned(old: TrustSet, *image_keys: SoftKey, **changes: Any) -> TrustSet:
    """The next set, with these image keys."""
    return following(old, **(with_image_keys(old, *image_keys) | changes))


def with_image_keys(old: TrustSet, *image_keys: SoftKey) -> dict[str, Any]:
    """The changes that give a set other image keys."""
    from pki.trust.sets import RoleId

    (before,) = old.roles[RoleId.IMAGE_APP]
    kept = tuple(key for key in old.keys if key.thumbprint not in before.members)
    roles = {**old.roles, RoleId.IMAGE_APP: group(1, *image_keys, scope=before.scope)}
    return {"keys": (*kept, *(key.key for key in image_keys)), "roles": roles}


def born(profile: ClassProfile = PROFILE, identity: Identity = IDENTITY, first: Release | None = None) -> Device:
    """A device at birth, with image 2.3.0 in slot A."""
    first = first or FIRST
    return Device.birth(profile, identity, GENESIS_MESSAGE, image=first.image, manifest=first.manifest)


FIRST = release(GENESIS, IMAGE)
NEXT = planned(GENESIS, NEW_IMAGE)
NEXT_MESSAGE = sign(NEXT, *ROOTS)
TRANSITION = release(NEXT, NEW_IMAGE, IMAGE, version=(2, 4, 0, 0), sequence=2)


class PowerCutError(Exception):
    """The power failed at a write."""


def cut_after(device: Device, writes: int) -> None:
    """Let the power fail at the write after this many."""
    left = writes

    def store(before: Memory, after: Memory) -> Memory:
        nonlocal left
        if not left:
            raise PowerCutError
        left -= 1
        return after

    device.hardware.store = store


def refused(device: Device, kind: type[PkiError], act: Callable[[], object]) -> PkiError:
    """The refusal of an act, which must leave memory as it was and the log one line longer."""
    memory, lines = device.memory, len(device.log)
    try:
        act()
    except kind as refusal:
        assert type(refusal) is kind
        assert device.memory == memory
        assert len(device.log) == lines + 1
        assert device.log[-1][1] == kind.code
        return refusal
    raise AssertionError(f"{kind.__name__} was not raised")
