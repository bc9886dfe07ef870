"""How a class of devices behaves, from the names in the signed policy: the profile that the device model runs on."""

from ceremonies.fleet import ClassUnknown
from ceremonies.policy import Policy, ReleasePolicy
from pki.formats.mcuboot_verify import verify_image
from pki.trust.device_profile import ATECC608B, LPC55_CFPA, SOFT, TPM_NV, ClassProfile, CounterModel
from pki.trust.sets import Domain

HARDWARE: dict[str, CounterModel] = {
    "stm32h7-atecc608b": ATECC608B,
    "lpc55s69": LPC55_CFPA,
    "imx8m-tpm": TPM_NV,
    "tms570": SOFT,
}
"""Counter hardware by the name that the policy gives a class (device rules, counters by class)."""


def class_profile(policy: Policy, class_name: str, rule: ReleasePolicy | None = None) -> ClassProfile:
    """How a class of devices behaves: from the policy's hardware name and a release rule, by default the class's first.

    Raises ClassUnknown.
    """
    fleet, rule = policy.fleet, rule or release_rule(policy, class_name)
    model = HARDWARE.get(fleet.device_class(class_name).hardware)
    if model is None:
        known = ", ".join(sorted(HARDWARE))
        raise ClassUnknown(f"class {class_name} has hardware that no model knows", hint=f"known: {known}")
    return ClassProfile(
        fleet=fleet.fleet_id,
        vendor_id=fleet.vendor_id,
        class_id=fleet.class_id(class_name),
        hardware_revision=rule.hardware[0][0],
        bootloader=(1, 0, 0),
        counters={Domain.TRUST: model, Domain(rule.component): model},
        verify_image=verify_image,
        domain=Domain(rule.component),
        slot_size=rule.slot_bytes,
    )


def release_rule(policy: Policy, class_name: str) -> ReleasePolicy:
    """The first release rule of a class. Raises ClassUnknown."""
    for rule in policy.releases:
        if rule.class_name == class_name:
            return rule
    raise ClassUnknown(f"the policy allows no release for class {class_name}")
