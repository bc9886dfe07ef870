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
OCSP_SIGNING = "1.3.6.1.5.5.7.3.9"  # RFC 6960 section 4.2.2.2
CMC_RA = "1.3.6.1.5.5.7.3.28"  # RFC 6402 section 2.10, RFC 9810 section 4.5
TEST_POLICY = "1.3.6.1.4.1.40732.2.1"  # IEEE 2030.5-2018 clause 6.11.7.3
Curve = Literal["secp256r1", "secp384r1"]
KeyUsage = Literal["digital_signature", "key_agreement", "key_cert_sign", "crl_sign"]
Naming = Literal["authority", "device", "module", "service"]


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of certificate.

    name: its name in drafts (`certificate.<name>`), policy and journal.
    citation: where its rules come from.
    issuers: the profiles of the CAs that may issue it; its own name when it is self-signed.
    curves: the curves of the subject's key.
    authority: whether it is a CA; `path_length` counts the CAs that may follow.
    naming: the kind of subject that it speaks of (`pki.names`).
    within_issuer: its subject begins with the names of its issuer's before the CN (O, or O and OU).
    longest: the longest validity; None for notAfter 99991231235959Z (RFC 5280 section 4.1.2.5).
    site_bound: name constraints to the O and OU of its own subject (RFC 5280 section 4.2.1.10).
    hardware_module: whether it may carry a critical hardwareModuleName (RFC 4108 section 5).
    policies: critical certificatePolicies (RFC 5280 section 4.2.1.4), without qualifiers; below a test root the
    test policy of IEEE 2030.5 is added.
    no_check: id-pkix-ocsp-nocheck (RFC 6960 section 4.2.2.2.1).
    backdated: it may begin before its issuer: it says of an older key what that key's own certificate says.
    """

    name: str
    citation: str
    issuers: tuple[str, ...]
    curves: tuple[Curve, ...]
    key_usage: frozenset[KeyUsage]
    authority: bool = True
    path_length: int | None = None
    extended_key_usage: tuple[str, ...] = ()
    longest: timedelta | None = None
    site_bound: bool = False
    hardware_module: bool = False
    naming: Naming = "authority"
    within_issuer: bool = False
    policies: tuple[str, ...] = ()
    no_check: bool = False
    backdated: bool = False

    @property
    def self_signed(self) -> bool:
        """Whether subject and issuer are one."""
        return self.issuers == (self.name,)


_CA_USAGE: frozenset[KeyUsage] = frozenset(("key_cert_sign", "crl_sign"))
_SIGNS: frozenset[KeyUsage] = frozenset(("digital_signature",))
_DAY = timedelta(days=1)

# Path length 2: one CA, and one link certificate (newWithOld, RFC 4210 section 4.4) during a rotation of the root.
IDENTITY_ROOT = Profile(
    name="identity-root",
    citation="RFC 5280 sections 4.2.1.3, 4.2.1.9; IEEE 802.1AR-2018 clause 8",
    issuers=("identity-root",),
    curves=("secp384r1",),
    key_usage=_CA_USAGE,
    path_length=2,
    longest=40 * 366 * _DAY,
)

# The key of one generation of the root, certified by another: newWithOld and oldWithNew. One CA may follow.
ROOT_LINK = Profile(
    name="root-link",
    citation="RFC 9810 sections 4.4, 4.4.1; RFC 5280 sections 3.2, 4.2.1.3, 4.2.1.9",
    issuers=("identity-root",),
    curves=("secp384r1",),
    key_usage=_CA_USAGE,
    path_length=1,
    longest=40 * 366 * _DAY,
    backdated=True,
)

DEVICE_CA = Profile(
    name="device-ca",
    citation="RFC 5280 sections 4.2.1.1 to 4.2.1.3, 4.2.1.9; IEEE 802.1AR-2018 clause 8",
    issuers=("identity-root",),
    curves=("secp256r1",),
    key_usage=_CA_USAGE,
    path_length=0,
    longest=40 * 366 * _DAY,
)

# A site's key can name nothing outside its O and OU, no host and no address, and nothing that signs code or mail.
SITE_CA = Profile(
    name="site-ca",
    citation="RFC 5280 sections 4.2.1.1 to 4.2.1.3, 4.2.1.9, 4.2.1.10, 4.2.1.12",
    issuers=("identity-root",),
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
    issuers=("device-ca",),
    curves=("secp256r1",),
    key_usage=_SIGNS,
    authority=False,
    naming="device",
    hardware_module=True,
)

# A key of its own for the certificates of stations: one purpose, TLS clients.
SERVICE_CA = Profile(
    name="service-ca",
    citation="RFC 5280 sections 4.2.1.1 to 4.2.1.3, 4.2.1.9, 4.2.1.12",
    issuers=("identity-root",),
    curves=("secp256r1",),
    key_usage=_CA_USAGE,
    path_length=0,
    extended_key_usage=(CLIENT_AUTH,),
    longest=15 * 366 * _DAY,
)

# "Generic" device type. The name is in the subjectAltName alone, which is critical then (RFC 5280 section 4.1.2.6).
IEEE2030_5_DEVICE = Profile(
    name="ieee2030-5-device",
    citation="IEEE 2030.5-2018 clause 6.11; RFC 4108 section 5; RFC 5280 sections 4.1.2.5, 4.1.2.6, 4.2.1.4, 4.2.1.6",
    issuers=("device-ca",),
    curves=("secp256r1",),
    key_usage=frozenset(("digital_signature", "key_agreement")),
    authority=False,
    naming="module",
    policies=("1.3.6.1.4.1.40732.1.1",),
)

LDEVID = Profile(
    name="ldevid",
    citation="IEEE 802.1AR-2018 clause 8; RFC 5280 sections 4.1.2.5, 4.2.1.10, 4.2.1.12",
    issuers=("site-ca",),
    curves=("secp256r1",),
    key_usage=_SIGNS,
    authority=False,
    naming="device",
    within_issuer=True,
    extended_key_usage=(CLIENT_AUTH, SERVER_AUTH),
    longest=3 * 366 * _DAY,
)

STATION_TLS = Profile(
    name="station-tls",
    citation="RFC 5280 sections 4.2.1.3, 4.2.1.12; RFC 8446 section 4.4.2.4",
    issuers=("service-ca",),
    curves=("secp256r1",),
    key_usage=_SIGNS,
    authority=False,
    naming="service",
    within_issuer=True,
    extended_key_usage=(CLIENT_AUTH,),
    longest=30 * _DAY,
)

# Issued by each CA that issues end entities, with that CA's own key (RFC 6960 section 4.2.2.2); nobody asks whether it
# is revoked, so it lives for a short time.
OCSP_RESPONDER = Profile(
    name="ocsp-responder",
    citation="RFC 6960 sections 4.2.2.2, 4.2.2.2.1; RFC 5280 sections 4.2.1.3, 4.2.1.12",
    issuers=("device-ca", "site-ca", "service-ca"),
    curves=("secp256r1",),
    key_usage=_SIGNS,
    authority=False,
    naming="service",
    within_issuer=True,
    extended_key_usage=(OCSP_SIGNING,),
    longest=92 * _DAY,
    no_check=True,
)

# Signs what CMP answers, as a registration authority that the CA names; a device CA has no purposes of its own, so that
# nobody finds them too narrow for it.
CMP_RESPONDER = Profile(
    name="cmp-responder",
    citation="RFC 9810 section 4.5; RFC 6402 section 2.10; RFC 5280 sections 4.2.1.3, 4.2.1.12",
    issuers=("device-ca",),
    curves=("secp256r1",),
    key_usage=_SIGNS,
    authority=False,
    naming="service",
    within_issuer=True,
    extended_key_usage=(CMC_RA,),
    longest=92 * _DAY,
)

PROFILES: Mapping[str, Profile] = MappingProxyType(
    {
        profile.name: profile
        for profile in (
            IDENTITY_ROOT,
            ROOT_LINK,
            DEVICE_CA,
            SITE_CA,
            SERVICE_CA,
            IDEVID,
            IEEE2030_5_DEVICE,
            LDEVID,
            STATION_TLS,
            OCSP_RESPONDER,
            CMP_RESPONDER,
        )
    }
)


def find_profile(name: str) -> Profile:
    """The profile of this name. Raises ProfileUnknown."""
    try:
        return PROFILES[name]
    except KeyError:
        raise ProfileUnknown(f"no profile {name[:64]!r}", hint=f"known are {', '.join(PROFILES)}") from None
