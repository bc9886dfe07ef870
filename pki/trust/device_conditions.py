"""What an installation waits for: dependencies, the site's word, the apply policy (device rules C.2, C.3, C.5)."""

import msgspec

from pki.trust.authorizations import verify_install_authorization
from pki.trust.device_errors import AuthorizationMissing, ConditionUnmet, DependencyUnmet
from pki.trust.device_profile import VerifiedImage
from pki.trust.device_view import View
from pki.trust.manifests import FirmwareManifest
from pki.trust.sets import Domain
from pki.trust.targets import Version


class Conditions(msgspec.Struct, frozen=True):
    """What the site says at the moment of an installation; the defaults are what a cautious device assumes.

    time: seconds since 1970, None without a clock. charge: percent. authorization: the signed `install-authz`.
    """

    time: int | None = None
    contactors_open: bool = False
    charge: int = 0
    authorization: bytes = b""


def check_dependencies(now: View, manifest: FirmwareManifest, running: VerifiedImage | None) -> None:
    """C.2: a device answers for its own bootloader and running image; what it cannot see is not there.

    Raises DependencyUnmet.
    """
    profile = now.profile
    own: dict[Domain, tuple[Version, int]] = {Domain.BOOT: (profile.bootloader, now.floor(Domain.BOOT))}
    if running:
        own[profile.domain] = (running.version, running.security_counter)
    for wanted in manifest.dependencies:
        found = own.get(wanted.component) if wanted.class_id == profile.class_id else None
        if not found or not wanted.versions.contains(found[0]) or found[1] < (wanted.security_version or 0):
            raise DependencyUnmet(f"component {wanted.component.name.lower()} is not there in a fitting version")


def check_conditions(now: View, manifest: FirmwareManifest, site: Conditions) -> None:
    """C.3 and C.5. The clock may hold an installation back, never a boot. Raises what the two parts raise."""
    if now.profile.site_authorization or now.newest.transition.operator_cosign:  # 3
        check_authorization(now, manifest, site)
    policy = manifest.apply_policy  # 5
    if policy is None:
        return
    if policy.windows is not None and not any(_holds(*window, site.time) for window in policy.windows):
        raise ConditionUnmet("now is in none of the windows", hint="wait for the next one")
    if policy.contactors_open and not site.contactors_open:
        raise ConditionUnmet("the contactors are closed", hint="open them first")
    if policy.min_charge is not None and site.charge < policy.min_charge:
        raise ConditionUnmet(f"charge is {site.charge} %, {policy.min_charge} % is wanted")


def check_authorization(now: View, manifest: FirmwareManifest, site: Conditions) -> None:
    """C.3: the site's roots allow this manifest for this device, now. Raises AuthorizationMissing, or a TrustError."""
    site_set = now.identity.site_set
    if site_set is None or not site.authorization:
        raise AuthorizationMissing("the site has not authorised this manifest", hint="have the site's keys sign it")
    given = verify_install_authorization(site_set, site.authorization)
    if given.manifest_sha256 != manifest.payload_sha256:
        raise AuthorizationMissing("the authorisation is for another manifest")
    if given.devices is not None and now.identity.ueid not in given.devices:
        raise AuthorizationMissing("the authorisation is for other devices")
    if given.window and not _holds(given.window.begin, given.window.end, site.time):
        raise AuthorizationMissing("the authorisation's window is not open")


def _holds(begin: int, end: int, time: int | None) -> bool:
    return time is not None and begin <= time <= end
