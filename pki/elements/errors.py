"""What is wrong with the evidence that a key lives in hardware."""

from pki.errors import PkiError


class ElementError(PkiError):
    """The root of these errors."""

    code = "element-error"


class PathRefused(ElementError):
    """A certificate does not lead to one that is pinned."""

    code = "element-path-refused"


class ManifestRefused(ElementError):
    """An entry of a manifest, or all of it, is not what a pinned signer vouches for."""

    code = "manifest-refused"


class EndorsementRefused(ElementError):
    """An endorsement certificate is none, or its key is of a kind that is not used here."""

    code = "endorsement-refused"


class AreaRefused(ElementError):
    """A TPM's public area is not one of a signing key that never leaves its TPM."""

    code = "tpm-area-refused"
