"""One good value of every payload, under the fleet's genesis set; tests change what they want to see refused."""

from typing import Any, TypeVar

import msgspec

from pki.trust.authorizations import Channel, InstallAuthorization, Window
from pki.trust.baselines import Baseline, BaselineRelease
from pki.trust.challenges import Challenge
from pki.trust.counters import CounterUpdate, FloorRaise
from pki.trust.denials import DenyList
from pki.trust.grants import QuotaGrant
from pki.trust.heads import HeadStatement
from pki.trust.indexes import ClassRelease, TransitionIndex
from pki.trust.manifests import ApplyPolicy, Component, Dependency, FirmwareManifest, PayloadFormat, Segment
from pki.trust.packages import BirthPackage
from pki.trust.payloads import Payload
from pki.trust.receipts import (
    CampaignReport,
    Canary,
    CounterReading,
    Phase,
    ReceiptClaims,
    SlotReport,
    State,
    TrustReport,
    compute_ueid,
)
from pki.trust.sets import Dates, Domain, SetRef, TrustSet
from pki.trust.targets import SHA256, SHA384, Digest, Range
from tests.pki.trust.fleets import (
    CAMPAIGN,
    CLASS,
    FLEET,
    IMAGE,
    OTHER_CLASS,
    SITE,
    SoftKey,
    following,
    genesis,
    soft_key,
    target,
)

T = TypeVar("T", bound=msgspec.Struct)
HASH, UUID = b"h" * 32, b"u" * 16
GENESIS = genesis()
DEVICE: SoftKey = soft_key(161)


def changed(value: T, changes: dict[str, Any]) -> T:
    return msgspec.structs.replace(value, **changes)


def component(**changes: Any) -> Component:
    segments = (Segment(0, 4096, Digest(SHA256, HASH)), Segment(4096, 904, Digest(SHA256, HASH)))
    plain = Component(
        Domain.APP, (2, 3, 0), 3, 5000, Digest(SHA256, HASH), segments, PayloadFormat.MCUBOOT, (IMAGE.kid,)
    )
    return changed(plain, changes)


def manifest(trust_set: TrustSet = GENESIS, **changes: Any) -> FirmwareManifest:
    plain = FirmwareManifest(
        FLEET,
        UUID,
        1,
        trust_set.ref,
        target(devices=(compute_ueid(DEVICE.spki),), regions=("EU",)),
        component(),
        Range((1, 0), None),
        (Dependency(CLASS, Domain.BOOT, Range((1,), (2, 0, -1)), 1),),
        ApplyPolicy(((1, 2),), True, 40, 1),
        Dates(1_790_000_000, 1_800_000_000),
    )
    return changed(plain, changes)


def counter_update(trust_set: TrustSet = GENESIS, **changes: Any) -> CounterUpdate:
    plain = CounterUpdate(FLEET, 1, trust_set.ref, target(), (FloorRaise(Domain.APP, 1, 3, 1),), 600)
    return changed(plain, changes)


def index(trust_set: TrustSet, **changes: Any) -> TransitionIndex:
    release = ClassRelease(HASH, HASH, None, Range((1, 0), (3,)))
    plain = TransitionIndex(FLEET, CAMPAIGN, GENESIS.ref, trust_set.ref, 1, {CLASS: release, OTHER_CLASS: release})
    return changed(plain, changes)


def deny_list(trust_set: TrustSet = GENESIS, **changes: Any) -> DenyList:
    plain = DenyList(FLEET, 1, trust_set.ref, (Digest(SHA256, HASH), Digest(SHA384, b"d" * 48)), 1_790_000_000)
    return changed(plain, changes)


def baseline(trust_set: TrustSet = GENESIS, **changes: Any) -> Baseline:
    tested = BaselineRelease(Domain.APP, (2, 4, 0), HASH)
    plain = Baseline(FLEET, 3, trust_set.ref, {CLASS: tested, OTHER_CLASS: tested}, 1_790_000_000)
    return changed(plain, changes)


def grant(trust_set: TrustSet = GENESIS, **changes: Any) -> QuotaGrant:
    plain = QuotaGrant(
        fleet=FLEET, id="oslo-2026-01", number=1, set_ref=trust_set.ref, ca=HASH, plant="oslo", quantity=500,
        profiles=("idevid",), classes={CLASS: HASH, OTHER_CLASS: None}, valid_from=1_790_000_000,
        valid_to=1_800_000_000, issued_at=1_790_000_000,
    )  # fmt: skip
    return changed(plain, changes)


def birth_package(**changes: Any) -> BirthPackage:
    plain = BirthPackage(FLEET, CLASS, GENESIS.ref, (("SRK0", b"\1\2\3\4"),), HASH, {Domain.APP: 0, Domain.TRUST: 0})
    return changed(plain, changes)


def head(trust_set: TrustSet = GENESIS, **changes: Any) -> HeadStatement:
    return changed(HeadStatement(FLEET, trust_set.ref, HASH, 1_790_000_000), changes)


def challenge(**changes: Any) -> Challenge:
    return changed(Challenge(FLEET, HASH, CAMPAIGN, b"canary"), changes)


def authorization(**changes: Any) -> InstallAuthorization:
    plain = InstallAuthorization(
        SITE, HASH, UUID, None, 1, Window(1, 2), "CHG-1", "officer-7", Channel.SERVICE_LAPTOP, b"n" * 16
    )
    return changed(plain, changes)


def claims(**changes: Any) -> ReceiptClaims:
    plain = ReceiptClaims(
        nonce=HASH,
        ueid=compute_ueid(DEVICE.spki),
        oemid=b"\1\2\3",
        hwmodel=b"bms-stm32h7",
        hwversion="C",
        dbgstat=2,
        profile="tag:kedge,2026:receipt",
        bootcount=7,
        trust=TrustReport(GENESIS.ref, State.PENDING, SetRef(0, 1, HASH), GENESIS.recovery_hash),
        counters={Domain.TRUST: CounterReading(0, 8, 100), Domain.APP: CounterReading(1, 1, 9)},
        slots=(SlotReport(0, HASH, 3, (IMAGE.kid,), 1, (2, 3, 0), UUID), SlotReport(1, HASH, 0, (), 0)),
        campaign=CampaignReport(CAMPAIGN, 2, -5, Phase.BOOT, UUID, HASH),
        issued_at=1_790_000_000,
        oemboot=True,
        bootseed=b"s" * 32,
        canary=Canary(HASH, True),
        evidence=b"evidence",
    )
    return changed(plain, changes)


def all_payloads() -> list[Payload]:
    """One of each kind, with every optional field, and the least of some."""
    full = [GENESIS, following(GENESIS, revoked=(HASH,)), manifest(), counter_update(), index(following(GENESIS))]
    rest = [deny_list(), baseline(), birth_package(), head(), challenge(), authorization(), claims()]
    rest.append(grant())
    least = [
        manifest(apply_policy=None, dates=None, dependencies=()),
        authorization(devices=(b"\1" * 33,), window=None, person=None, channel=None, nonce=None, change_request=None),
        claims(issued_at=None, oemboot=None, bootseed=None, canary=None, evidence=None),
        birth_package(golden=None, fuses=(), counters={}),
        deny_list(digests=()),
        challenge(canary=None),
    ]
    return [*full, *rest, *least]
