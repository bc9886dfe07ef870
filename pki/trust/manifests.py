"""Firmware manifests: what may be installed where (docs/trust.cddl, `fw-manifest`)."""

import enum
from collections.abc import Sequence

import msgspec

from pki.drafts import Draft
from pki.trust.authority import check_fleet, check_set_ref, check_signers, open_sign, points_of
from pki.trust.drafts import draft_sign
from pki.trust.errors import PayloadInvalid
from pki.trust.keys import CoseKey
from pki.trust.payloads import Payload
from pki.trust.sets import CLASS_ID, DATES, DOMAIN, KID, SET_REF, Dates, Domain, RoleId, SetRef, TrustSet
from pki.trust.shapes import BOOL, SECONDS, UUID, Field, array, choice, distinct, pair, record, row, single, uint
from pki.trust.targets import DIGEST, RANGE, TARGET, VERSION, Digest, Range, Target, Version


class PayloadFormat(enum.IntEnum):
    """The container that a component's payload is."""

    MCUBOOT = 1
    SB21 = 2
    HAB = 3
    RAW = 4
    RAUC = 5
    SWUPDATE = 6
    FIT = 7


class Segment(msgspec.Struct, frozen=True):
    """A part of the payload that a device can check as it arrives. Offset and size in bytes."""

    offset: int
    size: int
    digest: Digest


class Component(msgspec.Struct, frozen=True):
    """One payload. `security_version` is compared with the counter; `digest` covers all `size` bytes.

    component: the counter domain that it belongs to.
    image_keys: kids of the image keys whose signature the payload carries.
    """

    component: Domain
    version: Version
    security_version: int
    size: int
    digest: Digest
    segments: tuple[Segment, ...]
    format: PayloadFormat
    image_keys: tuple[bytes, ...]


class Dependency(msgspec.Struct, frozen=True):
    """Another component that must be there: class, component, versions, lowest security version."""

    class_id: bytes
    component: Domain
    versions: Range
    security_version: int | None = None


class ApplyPolicy(msgspec.Struct, frozen=True):
    """When a device may apply it; None asks for nothing.

    windows: (from, to) in seconds since 1970. contactors_open. min_charge: percent. at_once: devices of a site.
    """

    windows: tuple[tuple[int, int], ...] | None = None
    contactors_open: bool | None = None
    min_charge: int | None = None
    at_once: int | None = None


class FirmwareManifest(Payload, frozen=True):
    """What may be installed on a target.

    sequence: grows strictly per class and component. set_ref: the set it is signed under. bootloader: the versions of
    the bootloader that it runs under.
    """

    NAME = "fw-manifest"

    fleet: bytes
    manifest_id: bytes
    sequence: int
    set_ref: SetRef
    target: Target
    component: Component
    bootloader: Range
    dependencies: tuple[Dependency, ...] = ()
    apply_policy: ApplyPolicy | None = None
    dates: Dates | None = None


_SEGMENT = row(Segment, Field("offset", uint()), Field("size", uint()), Field("digest", DIGEST))
_COMPONENT = record(
    Component,
    {
        1: Field("component", DOMAIN),
        2: Field("version", VERSION),
        3: Field("security_version", uint()),
        4: Field("size", uint()),
        5: Field("digest", DIGEST),
        6: Field("segments", array(_SEGMENT)),
        7: Field("format", choice(PayloadFormat)),
        8: Field("image_keys", distinct(KID, high=16)),
    },
)
_DEPENDENCY = record(
    Dependency,
    {
        1: Field("class_id", CLASS_ID),
        2: Field("component", DOMAIN),
        3: Field("versions", RANGE),
        4: Field("security_version", uint(), None),
    },
)
_APPLY_POLICY = record(
    ApplyPolicy,
    {
        1: Field("windows", array(pair(SECONDS, SECONDS)), None),
        2: Field("contactors_open", BOOL, None),
        3: Field("min_charge", uint(100), None),
        4: Field("at_once", uint(), None),
    },
)
FirmwareManifest.shape = record(
    FirmwareManifest,
    {
        2: Field("fleet", UUID),
        3: Field("manifest_id", UUID),
        4: Field("sequence", uint()),
        5: Field("set_ref", SET_REF),
        6: Field("target", TARGET),
        7: Field("component", single(_COMPONENT)),
        8: Field("bootloader", RANGE),
        9: Field("dependencies", array(_DEPENDENCY, low=0, high=64)),
        10: Field("apply_policy", _APPLY_POLICY, None),
        11: Field("dates", DATES, None),
    },
    marks={1: 1},
)


def verify_manifest(trust_set: TrustSet, message: bytes) -> FirmwareManifest:
    """A manifest that this set's manifest-signers issued for its class, component and sites (device rules C.1).

    Strict parse, fleet, set-ref equal to the set, segments that lie end to end, signer threshold. Whether it is for
    *this* device is the device's to decide. Raises a TrustError or CborInvalid leaf.
    """
    manifest, signed = open_sign(FirmwareManifest, message)
    check_fleet(trust_set, manifest.fleet)
    check_set_ref(trust_set, manifest.set_ref)
    _check_segments(manifest.component)
    check_signers(trust_set, RoleId.MANIFEST_SIGNER, signed, points_of(manifest.target, [manifest.component.component]))
    return manifest


def draft_manifest(trust_set: TrustSet, manifest: FirmwareManifest, signers: Sequence[CoseKey]) -> Draft:
    """A draft of a manifest under the set, verified as a device will before it leaves."""
    component = manifest.component
    class_hex = manifest.target.class_id.hex()
    version = ".".join(map(str, component.version))
    name = component.component.name.lower()
    return draft_sign(
        manifest,
        signers,
        summary=f"Firmware manifest: class {class_hex}, {name} {version}, security {component.security_version}",
        what={
            "class": class_hex,
            "component": name,
            "version": version,
            "security_version": component.security_version,
            "sequence": manifest.sequence,
            "set_index": manifest.set_ref.index,
            "hash": manifest.payload_sha256.hex(),
        },
        check=lambda message: verify_manifest(trust_set, message),
    )


def _check_segments(component: Component) -> None:
    """Segments lie end to end and fill the payload, so that each byte is checked as it arrives (device rules C.6)."""
    end = 0
    for segment in component.segments:
        if segment.offset != end or segment.size == 0:
            raise PayloadInvalid(f"a segment starts at {segment.offset} where {end} is expected, or is empty")
        end += segment.size
    if end != component.size:
        raise PayloadInvalid(f"segments hold {end} bytes, the payload has {component.size}")
