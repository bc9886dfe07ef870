"""What can go wrong with requests, certificates and chains."""

from pki.errors import PkiError


class X509Error(PkiError):
    """The root of this room's errors."""

    code = "x509-error"


class DerMalformed(X509Error):
    """Bytes are not strict DER (X.690 section 10) of the structure that they should be."""

    code = "der-malformed"


class PemMalformed(X509Error):
    """Text is not one PEM block of the expected label (RFC 7468)."""

    code = "pem-malformed"


class RequestTooLarge(X509Error):
    """A certification request is larger than the limit."""

    code = "request-too-large"


class RequestMalformed(X509Error):
    """A certification request is not one PEM block or one strict DER value of PKCS #10."""

    code = "request-malformed"


class ProofOfPossessionFailed(X509Error):
    """A request is not signed by the key that it asks a certificate for."""

    code = "proof-of-possession-failed"


class KeyRefused(X509Error):
    """A key's algorithm, curve or encoding is not one that the profile allows."""

    code = "key-refused"


class KnownTestKey(X509Error):
    """The private half of a key is published."""

    code = "known-test-key"


class ProfileForbids(X509Error):
    """A request asks for more than the profile gives."""

    code = "profile-forbids"


class ProfileUnknown(X509Error):
    """No profile has this name."""

    code = "profile-unknown"


class SubjectRefused(X509Error):
    """The subject is not of the kind that the profile speaks of."""

    code = "subject-refused"


class CertificateNumberRefused(X509Error):
    """A certificate's serial number is out of range."""

    code = "certificate-number-refused"


class ValidityRefused(X509Error):
    """A validity is not one that the profile allows."""

    code = "validity-refused"


class IssuerRefused(X509Error):
    """A certificate may not be issued by this issuer."""

    code = "issuer-refused"


class AssemblyFailed(X509Error):
    """A finished certificate does not read back as what was drafted. A defect: nothing leaves."""

    code = "assembly-failed"


class LintFailed(X509Error):
    """A certificate breaks its profile; `findings` has one sentence for each way."""

    code = "lint-failed"

    def __init__(self, message: str, *, hint: str = "", findings: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint=hint)
        self.findings = findings


class ChainInvalid(X509Error):
    """A certificate does not chain to its root."""

    code = "chain-invalid"


class ReasonUnknown(X509Error):
    """There is no such reason to revoke a certificate (RFC 5280 section 5.3.1)."""

    code = "reason-unknown"


class CrlRefused(X509Error):
    """A certificate revocation list cannot be drafted from these facts."""

    code = "crl-refused"


class CrlInvalid(X509Error):
    """A certificate revocation list is malformed, another CA's, or not signed by it."""

    code = "crl-invalid"


class CrlExpired(X509Error):
    """A certificate revocation list is not valid at this time."""

    code = "crl-expired"


class CrlOutdated(X509Error):
    """A certificate revocation list is older than one that was seen before."""

    code = "crl-outdated"


class CrlOutOfScope(X509Error):
    """A certificate revocation list says nothing about this certificate."""

    code = "crl-out-of-scope"


class CertificateRevoked(X509Error):
    """The certificate is revoked."""

    code = "certificate-revoked"


class StatusRequestMalformed(X509Error):
    """An OCSP request is not one strict DER value that asks for one certificate."""

    code = "status-request-malformed"
