"""What can be wrong with a firmware image."""

from pki.errors import PkiError


class FormatError(PkiError):
    """A firmware container was refused; the leaves say why."""

    code = "format-error"


class ImageTooLarge(FormatError):
    """The image is over the limit of this reader, or a field cannot hold its size."""

    code = "image-too-large"


class ImageMalformed(FormatError):
    """The bytes are not an image: a magic number, a length or an offset is wrong."""

    code = "image-malformed"


class ImageFlagRefused(FormatError):
    """The header asks for something that Kedge does not sign: encryption, compression, RAM loading."""

    code = "image-flag-refused"


class ImageTlvRefused(FormatError):
    """A TLV stands where it may not stand, stands twice, or has a wrong length."""

    code = "image-tlv-refused"


class ImageFactConflict(FormatError):
    """The image says another security counter, class or vendor than the request."""

    code = "image-fact-conflict"


class ImageFactMissing(FormatError):
    """A signed image does not state its security counter, class and vendor where the signature covers them."""

    code = "image-fact-missing"


class ImageAlreadySigned(FormatError):
    """An unsigned image was expected and this one carries signatures."""

    code = "image-already-signed"


class ImageDigestMismatch(FormatError):
    """The digest inside the image is missing or is not the digest of the image."""

    code = "image-digest-mismatch"


class ImageKeyRefused(FormatError):
    """The list of image keys is empty, names a key twice, or holds a key that is not P-256."""

    code = "image-key-refused"


class ImageSignatureUnknown(FormatError):
    """No signature of the image is by one of the given keys."""

    code = "image-signature-unknown"


class ImageSignatureInvalid(FormatError):
    """The signature that decides does not verify."""

    code = "image-signature-invalid"
