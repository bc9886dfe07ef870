"""Who may sign what, where: groups by class, domain and site."""

import pytest

from pki.trust.authority import (
    Point,
    check_authority,
    check_fleet,
    check_set_ref,
    check_signers,
    count_signers,
    open_sign,
    points_of,
)
from pki.trust.counters import CounterUpdate
from pki.trust.errors import CoseInvalid, FleetMismatch, RoleUndefined, SetRefMismatch, ThresholdNotMet, TypeMismatch
from pki.trust.manifests import FirmwareManifest
from pki.trust.sets import Domain, RoleId, Scope, SetRef
from tests.pki.trust.fleets import CLASS, MANIFEST, OTHER_CLASS, SITE, genesis, group, sign, soft_key, target
from tests.pki.trust.messages import GENESIS, manifest

OTHER = soft_key(122)
BY_CLASS = genesis(
    roles={
        RoleId.MANIFEST_SIGNER: (
            *group(1, MANIFEST, scope=Scope(classes=(CLASS,))),
            *group(1, OTHER, scope=Scope(classes=(OTHER_CLASS,))),
        )
    }
)
SIGNER = RoleId.MANIFEST_SIGNER


def test_points_of_a_target() -> None:
    assert points_of(target(), [Domain.APP]) == (Point(CLASS, Domain.APP, None),)
    assert len(points_of(target(sites=(SITE, bytes(16))), [Domain.APP, Domain.BOOT])) == 4


def test_each_group_decides_for_its_class_only() -> None:
    check_authority(BY_CLASS, SIGNER, frozenset({MANIFEST.kid}), [Point(CLASS)])
    with pytest.raises(ThresholdNotMet, match="manifest-signer"):
        check_authority(BY_CLASS, SIGNER, frozenset({MANIFEST.kid}), [Point(OTHER_CLASS)])
    with pytest.raises(ThresholdNotMet):
        check_authority(BY_CLASS, SIGNER, frozenset({MANIFEST.kid}), [Point(CLASS), Point(OTHER_CLASS)])
    check_authority(BY_CLASS, SIGNER, frozenset({MANIFEST.kid, OTHER.kid}), [Point(CLASS), Point(OTHER_CLASS)])


def test_what_no_group_covers_is_refused() -> None:
    for point in (Point(), Point(SITE)):
        with pytest.raises(RoleUndefined):
            check_authority(BY_CLASS, SIGNER, frozenset({MANIFEST.kid, OTHER.kid}), [point])


def test_no_point_at_all_is_refused() -> None:
    with pytest.raises(ThresholdNotMet):
        check_authority(BY_CLASS, SIGNER, frozenset({MANIFEST.kid}), [])


def test_a_count_is_a_value() -> None:
    assert count_signers(GENESIS, RoleId.COUNTER, frozenset(), Point(CLASS)).missing == 2


def test_opening_checks_type_before_payload() -> None:
    message = sign(manifest(), MANIFEST)
    parsed, signed = open_sign(FirmwareManifest, message)
    assert parsed == manifest()
    check_signers(GENESIS, SIGNER, signed, [Point(CLASS)])
    with pytest.raises(TypeMismatch):
        open_sign(CounterUpdate, message)
    with pytest.raises(CoseInvalid):
        open_sign(CounterUpdate, message[1:])


def test_fleet_and_set() -> None:
    check_fleet(GENESIS, GENESIS.fleet)
    check_set_ref(GENESIS, GENESIS.ref)
    with pytest.raises(FleetMismatch):
        check_fleet(GENESIS, bytes(16))
    with pytest.raises(SetRefMismatch):
        check_set_ref(GENESIS, SetRef(0, 0, bytes(32)))
