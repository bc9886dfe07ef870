"""A CA before its certificate is signed: enough of it to draft what it will issue, in one ceremony."""

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from pki.drafts import Draft
from pki.signatures import spki_sha256
from pki.x509.issuers import Issuer, check_may_issue, read_certificate
from pki.x509.lint import lint_certificate
from pki.x509.profiles import Profile
from pki.x509.tbs import read_time

_DUMMY = bytes(47) + b"\x01"
"""r and s (each 1) of a signature that nobody could make; the preview never leaves the ceremony that drafts with it."""


def preview_issuer(profile: Profile, draft: Draft, issuer: Issuer | None = None) -> Issuer:
    """The CA that `draft` will become. Only names, key and identifiers of it are used, and those are in the draft.

    Raises IssuerRefused, LintFailed.
    """
    check_may_issue(profile, issuer)
    parsed = read_certificate(draft.assemble({draft.to_sign[0].spki: _DUMMY * 2}))
    tbs = lint_certificate(profile.name, parsed.public_bytes(Encoding.DER), issuer)
    ski = parsed.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    return Issuer(
        public_key=tbs.public_key,
        subject=tbs.subject,
        ski=ski,
        not_before=read_time(tbs.not_before),
        not_after=read_time(tbs.not_after),
        profile=profile.name,
        spki=spki_sha256(tbs.public_key),
        certificate=parsed.public_bytes(Encoding.PEM),
    )
