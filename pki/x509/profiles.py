"""Certificate profiles: what each kind of certificate says, as frozen values.

The lints (`pki.x509.lint`) hold their own literal copy of what must come out, so that a mistake here is refused
before a key is used.
"""

from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Literal

import msgspec

from pki.x509.errors import ProfileUnknown

CLIENT_AUTH = "1.3.6.1.5.5.7.3.2"
SERVER_AUTH = "1.3.6.1.5.5.7.3.1"
OCSP_SIGNING = "1.3.6.1.5.5.7.3.9"
Curve = Literal["secp256r1", "secp384r1"]
KeyUsage = Literal["digital_signature", "key_cert_sign", "crl_sign"]


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of certificate.

    name: its name in drafts (`certificate.<name>`), policy and journal.
    citation: where its rules come from.
    issuer: the profile of the CA that issues it; its own name when it is self-signed. also: other CAs that may, too.
    curves: the curves of the subject's key.
    authority: whether it is a CA; `path_length` counts the CAs that may follow.
    longest: the longest validity; None for notAfter 99991231235959Z (RFC 5280 section 4.1.2.5).
    site_bound: name constraints to the O and OU of its own subject (RFC 5280 section 4.2.1.10).
    hardware_module: whether it may carry a critical hardwareModuleName (RFC 4108 section 5).
    status_unchecked: whether it carries id-pkix-ocsp-nocheck (RFC 6960 section 4.2.2.2.1).
    """

    name: str
    citation: str
    issuer: str
    curves: tuple[Curve, ...]
    key_usage: frozenset[KeyUsage]
    authority: bool = True
    path_length: int | None = None
    extended_key_usage: tuple[str, ...] = ()
    longest: timedelta | None = None
    site_bound: bool = False
    hardware_module: bool = False
    also: tuple[str, ...] = ()
    status_unchecked: bool = False

    @property
    def self_signed(self) -> bool:
        """Whether subject and issuer are one."""
        return self.issuer == self.name


_CA_USAGE: frozenset[KeyUsage] = frozenset(("key_cert_sign", "crl_sign"))
_DAY = timedelta(days=1)

# Path length 2: one CA, and one link certificate (newWithOld, RFC 4210 section 4.4) during a rotation of the root.
IDENTITY_ROOT = Profile(
    name="identity-root",
    citation="RFC 5280 sections 4.2.1.3, 4.2.1.9; IEEE 802.1AR-2018 clause 8",
    issuer="identity-root",
    curves=("secp384r1",),
    key_usage=_CA_USAGE,
    path_length=2,
    longest=40 * 366 * _DAY,
)

DEVICE_CA = Profile(
    name="device-ca",
    citation="RFC 5280 sections 4.2.1.1 to 4.2.1.3, 4.2.1.9; IEEE 802.1AR-2018 clause 8",
    issuer="identity-root",
    curves=("secp256r1",),
    key_usage=_CA_USAGE,
    path_length=0,
    longest=40 * 366 * _DAY,
)

# A site's key can name nothing outside its O and OU, no host and no address, and nothing that signs code or mail.
SITE_CA = Profile(
    name="site-ca",
    citation="RFC 5280 sections 4.2.1.1 to 4.2.1.3, 4.2.1.9, 4.2.1.10, 4.2.1.12",
    issuer="identity-root",
    curves=("secp256r1",),
    key_usage=_CA_USAGE,
    path_length=0,
    extended_key_usage=(CLIENT_AUTH, SERVER_AUTH),
    longest=15 * 366 * _DAY,
    site_bound=True,
)

IDEVID = Profile(
    name="idevid",
    citation="IEEE 802.1AR-2018 clause 8; RFC 5280 section 4.1.2.5; RFC 4108 section 5",
    issuer="device-ca",
    curves=("secp256r1",),
    key_usage=frozenset(("digital_signature",)),
    authority=False,
    hardware_module=True,
)

# It speaks for its CA about revocation, so nobody can ask about it: it is short-lived instead.
OCSP_RESPONDER = Profile(
    name="ocsp-responder",
    citation="RFC 6960 sections 4.2.2.2, 4.2.2.2.1; RFC 5280 section 4.2.1.12",
    issuer="device-ca",
    also=("site-ca",),
    curves=("secp256r1",),
    key_usage=frozenset(("digital_signature",)),
    authority=False,
    extended_key_usage=(OCSP_SIGNING,),
    longest=90 * _DAY,
    status_unchecked=True,
)

PROFILES: Mapping[str, Profile] = MappingProxyType(
    {profile.name: profile for profile in (IDENTITY_ROOT, DEVICE_CA, SITE_CA, IDEVID, OCSP_RESPONDER)}
)


def find_profile(name: str) -> Profile:
    """The profile of this name. Raises ProfileUnknown."""
    try:
        return PROFILES[name]
    except KeyError:
        raise ProfileUnknown(f"no profile {name[:64]!r}", hint=f"known are {', '.join(PROFILES)}") from None
