"""Link certificates: one generation of the root vouches for another (RFC 9810 section 4.4, RFC 4210 section 4.4).

newWithOld is the new root's key certified by the old one, oldWithNew the other way round. Who trusts one root only
accepts with them what was issued below the other. Both have the name and the key identifier of the root that they speak
of, and each generation has a name of its own, so that a verifier finds the one way that there is.
"""

import re
from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID

from pki.drafts import Draft
from pki.names import AuthoritySubject
from pki.x509.certificates import draft_certificate
from pki.x509.errors import IssuerRefused, SubjectRefused
from pki.x509.issuers import Issuer, read_certificate, read_issuer
from pki.x509.profiles import IDENTITY_ROOT, ROOT_LINK
from pki.x509.tbs import read_tbs
from pki.x509.terms import Terms

_GENERATION: Final = re.compile(r"(.+) G([1-9][0-9]{0,3})")
_ATTRIBUTES: Final = {
    NameOID.ORGANIZATION_NAME: "organization",
    NameOID.ORGANIZATIONAL_UNIT_NAME: "site",
    NameOID.COMMON_NAME: "name",
}


def read_subject(certificate: x509.Certificate) -> AuthoritySubject:
    """Whom the certificate of a CA speaks of: organization, name, generation, site. Raises SubjectRefused, when it is
    none of ours, and NameMalformed.
    """
    found = {_ATTRIBUTES.get(item.oid, ""): str(item.value) for item in certificate.subject}
    parts = _GENERATION.fullmatch(found.get("name", ""))
    if parts is None or "organization" not in found:
        raise SubjectRefused(f"{certificate.subject.rfc4514_string()[:200]} is no CA with a generation")
    subject = AuthoritySubject(found["organization"], parts[1], int(parts[2]), found.get("site", ""))
    if subject.x501_name() != certificate.subject:
        raise SubjectRefused(f"{certificate.subject.rfc4514_string()[:200]} is no name of a CA of ours")
    return subject


def is_same_authority(one: x509.Certificate, other: x509.Certificate) -> bool:
    """Whether two certificates of CAs are those of one CA, of whatever generation. Raises as `read_subject`."""
    first, second = read_subject(one), read_subject(other)
    return (first.organization, first.name, first.site) == (second.organization, second.name, second.site)


def draft_link(root: Issuer, issuer: Issuer, number: int) -> Draft:
    """The certificate of a root's key, signed by the root of another generation. number: below 2^159, random.

    It begins when the root's own certificate does, and ends with that or with its issuer's, whichever is first: for
    oldWithNew that is the validity of the old root, for newWithOld it ends with the old root at the latest.
    Raises IssuerRefused, SubjectRefused, and what `draft_certificate` raises.
    """
    if {root.profile, issuer.profile} != {IDENTITY_ROOT.name}:
        raise IssuerRefused("a link certificate joins two roots", hint="CAs below a root are certified by the root")
    certificate = read_certificate(root.certificate)
    subject, above = read_subject(certificate), read_certificate(issuer.certificate)
    if not is_same_authority(certificate, above) or root.subject == issuer.subject:
        raise IssuerRefused(f"{subject} is no other generation of {above.subject.rfc4514_string()[:200]}")
    terms = Terms(number, root.not_before, min(root.not_after, issuer.not_after))
    draft = draft_certificate(ROOT_LINK, subject, root.public_key, issuer, terms)
    if read_tbs(draft.payload).subject != root.subject:
        raise SubjectRefused(f"the name of {subject} is encoded otherwise than by us: a link would not be found")
    return draft


def read_link(link: bytes, root: Issuer, issuer: Issuer) -> Issuer:
    """The certificate (PEM or DER) by which `issuer` vouches for `root`, a later generation of itself (newWithOld).

    Nothing is said about its validity today. Raises IssuerRefused, SubjectRefused, and what `read_issuer` raises.
    """
    found = read_issuer(ROOT_LINK, link, issuer)
    new, old = read_certificate(root.certificate), read_certificate(issuer.certificate)
    if (found.public_key, found.subject) != (root.public_key, root.subject):
        raise IssuerRefused("the link certificate speaks of another root")
    if not is_same_authority(new, old) or read_subject(new).generation <= read_subject(old).generation:
        raise IssuerRefused(f"{read_subject(new)} is no later generation of {read_subject(old)}")
    return found
