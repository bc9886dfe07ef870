"""The root of every error that the rule book raises; the leaves live beside the code that raises them."""

from typing import ClassVar


class PkiError(Exception):
    """What happened, to what, and what to do next.

    `code` is the stable, kebab-case name that travels to callers (RFC 9457 `type`).
    """

    code: ClassVar[str] = "pki-error"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class SignatureInvalid(PkiError):
    """A signature does not verify under the key that it names."""

    code = "signature-invalid"


class KeyUnsupported(PkiError):
    """A public key has an algorithm or a curve that Kedge does not use."""

    code = "key-unsupported"


class SignatureMissing(PkiError):
    """A draft was finished without the signature of one of its keys."""

    code = "signature-missing"
