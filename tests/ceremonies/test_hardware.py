"""The class profile that the policy's names lead to."""

import msgspec
import pytest

from ceremonies.fleet import ClassUnknown, DeviceClass
from ceremonies.hardware import HARDWARE, class_profile, release_rule
from pki.trust.sets import Domain
from tests.world import CLASS, FLEET, World, make_policy

replace = msgspec.structs.replace


def test_a_profile_follows_the_policy(genesis_world: World) -> None:
    policy = genesis_world.policy
    profile = class_profile(policy, CLASS)
    assert (profile.fleet, profile.class_id) == (FLEET.fleet_id, FLEET.class_id(CLASS))
    assert profile.counters == dict.fromkeys((Domain.TRUST, Domain.APP), HARDWARE["stm32h7-atecc608b"])
    boot = replace(release_rule(policy, CLASS), component=1, slot_bytes=4096)
    assert class_profile(policy, CLASS, boot).domain is Domain.BOOT
    with pytest.raises(ClassUnknown):
        class_profile(policy, "pcs-lpc55")
    unknown = replace(FLEET, classes=(DeviceClass(CLASS, "abacus"),))
    with pytest.raises(ClassUnknown, match="no model"):
        class_profile(replace(make_policy(genesis_world.issuer.jwk), fleet=unknown), CLASS)
