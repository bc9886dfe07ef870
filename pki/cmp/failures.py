"""Refusals as CMP tells them: which bit of PKIFailureInfo (RFC 9810 section 5.2.3) stands for which rule.

A refusal that is not here is no answer of the protocol: the service is away or full, and HTTP says so.
"""

from collections.abc import Mapping
from types import MappingProxyType

BAD_MESSAGE_CHECK, BAD_REQUEST, BAD_TIME, BAD_CERT_ID, BAD_DATA_FORMAT, WRONG_AUTHORITY = 1, 2, 3, 4, 5, 6
BAD_POP, CERT_REVOKED, BAD_RECIPIENT_NONCE, BAD_CERT_TEMPLATE = 9, 10, 13, 19
SIGNER_NOT_TRUSTED, TRANSACTION_ID_IN_USE, NOT_AUTHORIZED, SYSTEM_UNAVAIL, DUPLICATE = 20, 21, 23, 24, 26

_CODES = {
    BAD_MESSAGE_CHECK: "message-unprotected message-forged",
    BAD_REQUEST: "message-unsupported quota-exhausted reason-unknown revocation-refused work-order-ambiguous "
    "work-order-closed certificate-replaced unit-scrapped",
    BAD_TIME: "message-untimely",
    BAD_CERT_ID: "certificate-unknown chain-mismatch",
    BAD_DATA_FORMAT: "message-malformed request-malformed request-too-large",
    WRONG_AUTHORITY: "authority-unknown site-mismatch work-order-unknown",
    BAD_POP: "proof-of-possession-failed",
    CERT_REVOKED: "certificate-withdrawn device-revoked",
    BAD_RECIPIENT_NONCE: "message-unexpected",
    BAD_CERT_TEMPLATE: "key-refused key-unprotected known-test-key lint-failed name-malformed profile-forbids",
    SIGNER_NOT_TRUSTED: "client-certificate-expired client-certificate-unknown station-revoked",
    TRANSACTION_ID_IN_USE: "message-replayed",
    NOT_AUTHORIZED: "address-refused binding-mismatch device-out-of-service device-unknown enrolment-pending "
    "role-refused serial-not-in-order station-suspended unit-unconfirmed",
    SYSTEM_UNAVAIL: "authority-unavailable enrolment-under-way key-not-active",
    DUPLICATE: "element-taken key-known key-used serial-taken",
}
FAILURES: Mapping[str, int] = MappingProxyType({code: bit for bit, codes in _CODES.items() for code in codes.split()})
"""The bit by the code of an error."""
