"""What can be wrong with a trust message. Every leaf's `code` is the rule that refused it."""

from typing import ClassVar

from pki.errors import PkiError


class TrustError(PkiError):
    """Root of the errors of this room."""

    code: ClassVar[str] = "trust-error"


class CborInvalid(TrustError):
    """Bytes are not deterministic CBOR. `offset` is where, in bytes from the start."""

    code: ClassVar[str] = "cbor-invalid"

    def __init__(self, message: str, *, offset: int = 0, hint: str = "") -> None:
        super().__init__(f"{message} at byte {offset}", hint=hint)
        self.offset = offset


class CborTooLarge(CborInvalid):
    """Too many bytes, too deep, or too many elements for the limits."""

    code = "cbor-too-large"


class CborTruncated(CborInvalid):
    """The bytes end inside an item."""

    code = "cbor-truncated"


class CborNotDeterministic(CborInvalid):
    """A form that RFC 8949 section 4.2.1 rules out: long integer, indefinite length, unsorted keys."""

    code = "cbor-not-deterministic"


class CborKeyDuplicate(CborInvalid):
    """A map has the same key twice."""

    code = "cbor-key-duplicate"


class CborTypeForbidden(CborInvalid):
    """A tag, float, undefined or simple value, where the profile has none."""

    code = "cbor-type-forbidden"


class CborTextInvalid(CborInvalid):
    """A text string is not UTF-8."""

    code = "cbor-text-invalid"


class CborTrailing(CborInvalid):
    """Bytes follow the one item."""

    code = "cbor-trailing"


class PayloadInvalid(TrustError):
    """A payload does not have the shape that docs/trust.cddl gives it."""

    code = "payload-invalid"


class CoseInvalid(TrustError):
    """A signed object does not have the one form of COSE that Kedge uses."""

    code = "cose-invalid"


class CoseKeyInvalid(TrustError):
    """A COSE_Key's parameters do not fit together."""

    code = "cose-key-invalid"


class TypeMismatch(TrustError):
    """A message of one type stands where another is expected."""

    code = "type-mismatch"


class FleetMismatch(TrustError):
    """A message is for another fleet or site."""

    code = "fleet-mismatch"


class SetMalformed(TrustError):
    """A trust set contradicts itself (device rules B.7)."""

    code = "set-malformed"


class IndexRefused(TrustError):
    """A set does not follow the one before by kind and index (device rules B.4)."""

    code = "set-index-refused"


class PreviousMismatch(TrustError):
    """A set names another previous set (device rules B.4)."""

    code = "set-previous-mismatch"


class ThresholdNotMet(TrustError):
    """Too few distinct keys signed (device rules B.5)."""

    code = "threshold-not-met"


class RecoveryChanged(TrustError):
    """The recovery commitment changed without recovery signatures (device rules B.6)."""

    code = "recovery-changed"


class PossessionUnproven(TrustError):
    """A new root key did not sign (service rule: every new root proves possession)."""

    code = "possession-unproven"


class SetRefMismatch(TrustError):
    """A message names another trust set than the one it is checked under."""

    code = "set-ref-mismatch"


class RoleUndefined(TrustError):
    """The trust set has no group of the role for this class, domain and site; an empty policy refuses."""

    code = "role-undefined"


class LimitExceeded(TrustError):
    """A counter update goes beyond what the trust set allows."""

    code = "limit-exceeded"


class IdentityMismatch(TrustError):
    """A receipt names another device than the one whose key signed it."""

    code = "identity-mismatch"


class NonceMismatch(TrustError):
    """A receipt answers another challenge."""

    code = "nonce-mismatch"
