"""What the keyroom answers about certificates and their revocation. Exported by `ceremonies.commands`."""

from msgspec import Struct


class CertificateShown(Struct, frozen=True, tag="certificate-shown"):
    """A certificate that was issued: `ca` is its issuer's label, `kind` its profile, `document` its digest, `index` its
    entry. status: `good` or `revoked`, with the reason (RFC 5280), microseconds since 1970, and the entry.
    """

    number: str
    ca: str
    kind: str
    serial: str
    subject: str
    document: str
    index: int
    status: str
    reason: str = ""
    revoked_us: int = 0
    revoked_index: int = 0


class RevocationPreviewed(Struct, frozen=True, tag="revocation-previewed"):
    """What a plan selects: how many certificates, how many of them are revoked already, the SHA-256 of the list, the
    first ones as `number serial`.
    """

    count: int
    revoked: int
    sha256: str
    first: tuple[str, ...]


class RevocationListShown(Struct, frozen=True):
    """The newest list of a CA: `path` below the public directory; `number` is its CRL number; times are seconds since
    1970; `current` is false while a revocation is not in it.
    """

    ca: str
    path: str
    number: int
    entries: int
    this_update: int
    next_update: int
    document: str
    current: bool


class RevocationsListed(Struct, frozen=True, tag="revocations-listed"):
    """The newest lists."""

    lists: tuple[RevocationListShown, ...]


class StatusAnswered(Struct, frozen=True, tag="status-answered"):
    """An OCSP response (DER). `seconds`: how long it may be kept; 0: not at all."""

    response: bytes
    seconds: int
