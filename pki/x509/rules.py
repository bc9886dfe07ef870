"""What the lints expect of each profile, in literal DER.

Written out by hand from the clauses, and on purpose not derived from `pki.x509.profiles`: a slip in a profile, in
the builder or in the library then meets a second opinion before a key is used.
"""

from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Literal

import msgspec

BASIC_CONSTRAINTS = bytes.fromhex("551d13")
KEY_USAGE = bytes.fromhex("551d0f")
EXTENDED_KEY_USAGE = bytes.fromhex("551d25")
AUTHORITY_KEY_ID = bytes.fromhex("551d23")
SUBJECT_KEY_ID = bytes.fromhex("551d0e")
SUBJECT_ALT_NAME = bytes.fromhex("551d11")
NAME_CONSTRAINTS = bytes.fromhex("551d1e")
POLICIES = bytes.fromhex("551d20")
CRL_POINTS = bytes.fromhex("551d1f")
OCSP_NO_CHECK = bytes.fromhex("2b0601050507300105")

ORGANIZATION = bytes.fromhex("55040a")
ORGANIZATIONAL_UNIT = bytes.fromhex("55040b")
COMMON_NAME = bytes.fromhex("550403")
SERIAL_NUMBER = bytes.fromhex("550405")

# SubjectPublicKeyInfo of an uncompressed point, up to the point (RFC 5480 section 2).
P256_KEY = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200")
P384_KEY = bytes.fromhex("3076301006072a8648ce3d020106052b81040022036200")
# ecdsa-with-SHA256 and ecdsa-with-SHA384, without parameters (RFC 5758 section 3.2).
SIGNATURE_ALGORITHMS: Mapping[bytes, bytes] = MappingProxyType(
    {P256_KEY: bytes.fromhex("300a06082a8648ce3d040302"), P384_KEY: bytes.fromhex("300a06082a8648ce3d040303")}
)
NEVER = b"\x18\x0f99991231235959Z"  # RFC 5280 section 4.1.2.5
# certificatePolicies of IEEE 2030.5-2018 clauses 6.11.7.2 and 6.11.7.3: 1.3.6.1.4.1.40732.1.1, "generic" device type;
# below a test root also 1.3.6.1.4.1.40732.2.1, "test".
DEVICE_POLICY = bytes.fromhex("300e300c060a2b0601040182be1c0101")
DEVICE_TEST_POLICIES = bytes.fromhex("301c300c060a2b0601040182be1c0101300c060a2b0601040182be1c0201")

_CA_KEY_USAGE = (True, bytes.fromhex("03020106"))  # keyCertSign, cRLSign
_SIGNS = (True, bytes.fromhex("03020780"))  # digitalSignature
_NO_CA = (True, bytes.fromhex("3000"))
_CLIENT = (False, bytes.fromhex("300a06082b06010505070302"))  # id-kp-clientAuth
_DAY = timedelta(days=1)


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """One profile's rules.

    key: SPKI up to the point. subject: its attributes in order; within_issuer: after those of the issuer's subject
    before its CN, octet for octet. fixed: extensions whose bytes are known beforehand, by OID. longest: the longest
    validity; None demands NEVER. site_bound: name constraints must be there. hardware: a hardwareModuleName must not,
    may, or must be there; policies: those of an IEEE 2030.5 device must be there. backdated: it may begin before its
    issuer.
    """

    key: bytes
    subject: tuple[bytes, ...]
    fixed: Mapping[bytes, tuple[bool, bytes]]
    longest: timedelta | None = None
    self_signed: bool = False
    authority: bool = True
    site_bound: bool = False
    hardware: Literal["no", "may", "must"] = "no"
    policies: bool = False
    within_issuer: bool = False
    backdated: bool = False


RULES: Mapping[str, Rules] = MappingProxyType(
    {
        "identity-root": Rules(
            key=P384_KEY,
            subject=(ORGANIZATION, COMMON_NAME),
            fixed={BASIC_CONSTRAINTS: (True, bytes.fromhex("30060101ff020102")), KEY_USAGE: _CA_KEY_USAGE},
            longest=14640 * _DAY,
            self_signed=True,
        ),
        "root-link": Rules(
            key=P384_KEY,
            subject=(ORGANIZATION, COMMON_NAME),
            fixed={BASIC_CONSTRAINTS: (True, bytes.fromhex("30060101ff020101")), KEY_USAGE: _CA_KEY_USAGE},
            longest=14640 * _DAY,
            backdated=True,
        ),
        "device-ca": Rules(
            key=P256_KEY,
            subject=(ORGANIZATION, COMMON_NAME),
            fixed={BASIC_CONSTRAINTS: (True, bytes.fromhex("30060101ff020100")), KEY_USAGE: _CA_KEY_USAGE},
            longest=14640 * _DAY,
        ),
        "site-ca": Rules(
            key=P256_KEY,
            subject=(ORGANIZATION, ORGANIZATIONAL_UNIT, COMMON_NAME),
            fixed={
                BASIC_CONSTRAINTS: (True, bytes.fromhex("30060101ff020100")),
                KEY_USAGE: _CA_KEY_USAGE,
                EXTENDED_KEY_USAGE: (False, bytes.fromhex("301406082b0601050507030206082b06010505070301")),
            },
            longest=5490 * _DAY,
            site_bound=True,
        ),
        "idevid": Rules(
            key=P256_KEY,
            subject=(ORGANIZATION, COMMON_NAME, SERIAL_NUMBER),
            fixed={BASIC_CONSTRAINTS: _NO_CA, KEY_USAGE: _SIGNS},
            authority=False,
            hardware="may",
        ),
        "service-ca": Rules(
            key=P256_KEY,
            subject=(ORGANIZATION, COMMON_NAME),
            fixed={
                BASIC_CONSTRAINTS: (True, bytes.fromhex("30060101ff020100")),
                KEY_USAGE: _CA_KEY_USAGE,
                EXTENDED_KEY_USAGE: _CLIENT,
            },
            longest=5490 * _DAY,
        ),
        "ieee2030-5-device": Rules(
            key=P256_KEY,
            subject=(),
            fixed={BASIC_CONSTRAINTS: _NO_CA, KEY_USAGE: (True, bytes.fromhex("03020388"))},
            authority=False,
            hardware="must",
            policies=True,
        ),
        "ldevid": Rules(
            key=P256_KEY,
            subject=(COMMON_NAME, SERIAL_NUMBER),
            within_issuer=True,
            fixed={
                BASIC_CONSTRAINTS: _NO_CA,
                KEY_USAGE: _SIGNS,
                EXTENDED_KEY_USAGE: (False, bytes.fromhex("301406082b0601050507030206082b06010505070301")),
            },
            longest=1098 * _DAY,
            authority=False,
        ),
        "station-tls": Rules(
            key=P256_KEY,
            subject=(ORGANIZATIONAL_UNIT, COMMON_NAME),
            within_issuer=True,
            fixed={BASIC_CONSTRAINTS: _NO_CA, KEY_USAGE: _SIGNS, EXTENDED_KEY_USAGE: _CLIENT},
            longest=30 * _DAY,
            authority=False,
        ),
        "ocsp-responder": Rules(
            key=P256_KEY,
            subject=(COMMON_NAME,),
            within_issuer=True,
            fixed={
                BASIC_CONSTRAINTS: _NO_CA,
                KEY_USAGE: _SIGNS,
                EXTENDED_KEY_USAGE: (False, bytes.fromhex("300a06082b06010505070309")),
                OCSP_NO_CHECK: (False, bytes.fromhex("0500")),
            },
            longest=92 * _DAY,
            authority=False,
        ),
        "cmp-responder": Rules(
            key=P256_KEY,
            subject=(COMMON_NAME,),
            within_issuer=True,
            fixed={
                BASIC_CONSTRAINTS: _NO_CA,
                KEY_USAGE: _SIGNS,
                EXTENDED_KEY_USAGE: (False, bytes.fromhex("300a06082b0601050507031c")),
            },
            longest=92 * _DAY,
            authority=False,
        ),
    }
)
