"""Why a certificate is revoked (CRLReason, RFC 5280 section 5.3.1), by the standard's own names.

`certificateHold` and `removeFromCRL` are left out: what is revoked stays revoked.
"""

from collections.abc import Mapping
from types import MappingProxyType

from pki.x509.errors import ReasonUnknown

UNSPECIFIED = "unspecified"

REASONS: Mapping[str, int] = MappingProxyType(
    {
        UNSPECIFIED: 0,
        "keyCompromise": 1,
        "cACompromise": 2,
        "affiliationChanged": 3,
        "superseded": 4,
        "cessationOfOperation": 5,
        "privilegeWithdrawn": 9,
        "aACompromise": 10,
    }
)


def read_reason(name: str) -> int:
    """The CRLReason of a name. Raises ReasonUnknown."""
    if name not in REASONS:
        raise ReasonUnknown(f"no reason {name[:32]!r}", hint=f"one of {', '.join(REASONS)}")
    return REASONS[name]
