"""What a CA wants a request to say (RFC 7030 section 4.5.2, CsrAttrs): the key's curve and the signature algorithm."""

from typing import Final

from pki.x509.der import SEQUENCE, SET, write_element, write_oid
from pki.x509.profiles import Curve, Profile

_EC_PUBLIC_KEY: Final = "1.2.840.10045.2.1"
_CURVES: Final[dict[Curve, tuple[str, str]]] = {
    "secp256r1": ("1.2.840.10045.3.1.7", "1.2.840.10045.4.3.2"),  # ecdsa-with-SHA256
    "secp384r1": ("1.3.132.0.34", "1.2.840.10045.4.3.3"),  # ecdsa-with-SHA384
}


def write_attributes(profile: Profile) -> bytes:
    """CsrAttrs in DER: for each curve of the profile an attribute id-ecPublicKey with the curve, and the algorithm.

    Nothing is asked for the subject or for extensions: the profile and the work order say those.
    """
    parts = []
    for curve in profile.curves:
        name, algorithm = _CURVES[curve]
        values = write_element(SET, write_oid(name))
        parts += [write_element(SEQUENCE, write_oid(_EC_PUBLIC_KEY), values), write_oid(algorithm)]
    return write_element(SEQUENCE, *parts)
