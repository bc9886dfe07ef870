"""What can go wrong with messages of CMP."""

from pki.errors import PkiError


class CmpError(PkiError):
    """The root of this room's errors."""

    code = "cmp-error"


class MessageMalformed(CmpError):
    """Bytes are no PKIMessage in strict DER within the limits."""

    code = "message-malformed"


class MessageUnsupported(CmpError):
    """The message asks for something that is not in the lightweight profile, or not done here."""

    code = "message-unsupported"


class MessageUnprotected(CmpError):
    """The message is not signed."""

    code = "message-unprotected"


class MessageForged(CmpError):
    """The message's signature, sender or key identifier is not that of the certificate that it shows."""

    code = "message-forged"
