"""Device rules C.2 (dependencies), C.3 and C.5."""

from typing import Any

import msgspec
import pytest

from pki.trust.authorizations import InstallAuthorization, Window
from pki.trust.device import Device
from pki.trust.device_conditions import Conditions
from pki.trust.device_errors import AuthorizationMissing, ConditionUnmet
from pki.trust.errors import ThresholdNotMet
from pki.trust.manifests import ApplyPolicy
from pki.trust.rehearsal import Release
from pki.trust.sets import Transition
from tests.pki.trust.devices import GENESIS, IDENTITY, PROFILE, born, manifest_for, refused, release
from tests.pki.trust.fleets import IMAGE, ROOTS, SITE, following, genesis, sign

SITE_SET = genesis(fleet=SITE)
CAREFUL = msgspec.structs.replace(PROFILE, site_authorization=True)
AT_SITE = msgspec.structs.replace(IDENTITY, site_set=SITE_SET)
UPDATE = release(GENESIS, IMAGE, version=(2, 4, 0, 0), sequence=2)


def authorization(**changes: Any) -> bytes:
    manifest = manifest_for(GENESIS, UPDATE.image, IMAGE, sequence=2)
    signers = changes.pop("by", ROOTS)
    plain = InstallAuthorization(SITE, manifest.payload_sha256, b"a" * 16, None, 1)
    return sign(msgspec.structs.replace(plain, **changes), *signers)


def send(device: Device, made: Release, **conditions: Any) -> Any:
    return lambda: device.install(made.manifest, made.image, conditions=Conditions(**conditions))


def test_c3_the_site_allows() -> None:
    assert send(born(CAREFUL, AT_SITE), UPDATE, authorization=authorization())()
    window = authorization(devices=(AT_SITE.ueid,), window=Window(10, 20))
    assert send(born(CAREFUL, AT_SITE), UPDATE, authorization=window, time=20)()


@pytest.mark.parametrize(
    ("word", "time"),
    [
        (b"", None),
        (authorization(manifest_sha256=b"h" * 32), None),
        (authorization(devices=(b"\1" * 33,)), None),
        (authorization(window=Window(10, 20)), None),
        (authorization(window=Window(10, 20)), 21),
    ],
    ids=["none", "another manifest", "another device", "no clock", "too late"],
)
def test_c3_the_site_does_not_allow(word: bytes, time: int | None) -> None:
    device = born(CAREFUL, AT_SITE)
    refused(device, AuthorizationMissing, send(device, UPDATE, authorization=word, time=time))


def test_c3_a_site_is_known_by_its_own_roots() -> None:
    device = born(CAREFUL, AT_SITE)
    refused(device, ThresholdNotMet, send(device, UPDATE, authorization=authorization(by=ROOTS[:1])))
    nowhere = born(CAREFUL)
    refused(nowhere, AuthorizationMissing, send(nowhere, UPDATE, authorization=authorization()))


def test_c3_a_set_can_ask_for_the_operator() -> None:
    asking = following(GENESIS, transition=Transition(both_slots=True, max_trial_boots=3, operator_cosign=True))
    device = born()
    device.receive_sets([sign(asking, *ROOTS)])
    made = release(asking, IMAGE, version=(2, 4, 0, 0), sequence=2)
    refused(device, AuthorizationMissing, send(device, made))


@pytest.mark.parametrize(
    ("policy", "unmet", "met"),
    [
        (ApplyPolicy(windows=((10, 20), (30, 40))), {}, {"time": 30}),
        (ApplyPolicy(windows=((10, 20), (30, 40))), {"time": 25}, {"time": 10}),
        (ApplyPolicy(contactors_open=True), {}, {"contactors_open": True}),
        (ApplyPolicy(min_charge=40), {"charge": 39}, {"charge": 40}),
    ],
)
def test_c5_the_apply_policy(policy: ApplyPolicy, unmet: dict[str, Any], met: dict[str, Any]) -> None:
    made = release(GENESIS, IMAGE, version=(2, 4, 0, 0), sequence=2, apply_policy=policy)
    device = born()
    refused(device, ConditionUnmet, send(device, made, **unmet))
    assert send(device, made, **met)()
