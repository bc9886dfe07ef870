"""The identity roots that a site box believes: the one that its genesis pinned, and each that followed by a link.

The centre's new root is joined to those before it by link certificates (`pki.x509.links`). With its grant a box gets
the root of its CA, and the links to that root; by a link of a root that it believes it believes this one, too.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ceremonies.certified import read_released
from ceremonies.errors import KeyroomError
from ceremonies.generations import describe_authority
from ceremonies.granted import Centre
from ceremonies.room import Room
from ceremonies.store import Insert
from ceremonies.tables import CertificateRow
from pki.x509.chains import verify_chain
from pki.x509.issuers import Issuer, read_issuer
from pki.x509.links import read_link
from pki.x509.pem import is_pem, read_pem
from pki.x509.profiles import DEVICE_CA, IDENTITY_ROOT
from pki.x509.tbs import read_tbs, split_signed


class GrantRefused(KeyroomError):
    """What was brought from the centre is not for this site box, or does not verify."""

    code = "grant-refused"


class Followed(msgspec.Struct, frozen=True):
    """A root that is believed from now on: itself, the link that made it so, and the label of the root above that."""

    root: Issuer
    link: Issuer
    above: str

    @property
    def facts(self) -> dict[str, Any]:
        """What the entry of the import says of it."""
        return {
            "authority": describe_authority(self.root, IDENTITY_ROOT.name, self.root.spki),
            "certificate": _sha256(self.root.certificate),
            "link": _sha256(self.link.certificate),
        }

    @property
    def rows(self) -> list[Insert]:
        """Root and link beside the certificates that are published."""
        label = f"{IDENTITY_ROOT.name}-{self.facts['authority']['generation']}"
        named = {label: self.root, f"{label}@{self.above}": self.link}
        return [
            Insert(CertificateRow, {"label": name, "spki": item.spki, "document": _sha256(item.certificate)})
            for name, item in named.items()
        ]

    @property
    def blobs(self) -> list[bytes]:
        """The two documents."""
        return [self.root.certificate, self.link.certificate]


class Ancestry(msgspec.Struct, frozen=True):
    """The CA of a box with the root that certified it; `followed` when that root is new to the box."""

    authority: Issuer
    root: Issuer
    followed: Followed | None = None


def find_centre(room: Room) -> Centre:
    """The centre of this box. Raises GrantRefused."""
    centre = room.ledger.replay.grants.centre
    if centre is None:
        raise GrantRefused("this keyroom is no site box", hint="grants are imported where genesis named a centre")
    return centre


def list_roots(room: Room) -> dict[str, Issuer]:
    """The roots that this box believes, by key (SPKI digest). Writer's thread. Raises GrantRefused, JournalForked."""
    digests = [find_centre(room).root, *room.ledger.replay.grants.roots]
    roots = [
        read_issuer(IDENTITY_ROOT, read_released(room, item, f"certificate.{IDENTITY_ROOT.name}")) for item in digests
    ]
    return {root.spki: root for root in roots}


def trace_authority(room: Room, certificate: bytes, root: bytes, links: Sequence[bytes]) -> Ancestry:
    """The CA of a box under a root that it believes, or under one that a link makes it believe. Writer's thread.

    certificate: the CA's; root: the one that certified it, and the links to that root; all PEM or DER.
    Raises GrantRefused, a PkiError for what does not parse or verify, JournalForked.
    """
    roots = list_roots(room)
    issuer = name_issuer(certificate)
    known = next((item for item in roots.values() if item.subject == issuer), None)
    if known is not None:
        return Ancestry(read_issuer(DEVICE_CA, certificate, known), known)
    if not root:
        raise GrantRefused(
            "the certificate is by a root that this box does not know", hint="export the grant with a newer release"
        )
    newer = read_issuer(IDENTITY_ROOT, root)
    above, link = find_link(newer, roots, links)
    authority = read_issuer(DEVICE_CA, certificate, newer)
    verify_chain(authority.certificate, [link.certificate], above.certificate, room.door.now())
    row = room.store.find(CertificateRow, document=_sha256(above.certificate))
    return Ancestry(authority, newer, Followed(newer, link, row["label"] if row else IDENTITY_ROOT.name))


def find_link(root: Issuer, roots: Mapping[str, Issuer], links: Sequence[bytes]) -> tuple[Issuer, Issuer]:
    """A root that is believed and vouches for this one, and the link. Raises GrantRefused, and as `read_link`."""
    for link in links:
        issuer = name_issuer(link)
        for above in roots.values():
            if above.subject == issuer:
                return above, read_link(link, root, above)
    raise GrantRefused(
        "no root that this box believes vouches for the one of its CA",
        hint="was the older root suspended, or is it over? then the box needs a new genesis",
    )


def name_issuer(certificate: bytes) -> bytes:
    """The name (DER) of who signed a certificate, PEM or DER. Raises an X509Error."""
    der = read_pem(certificate, "CERTIFICATE") if is_pem(certificate) else certificate
    return read_tbs(split_signed(der)[0]).issuer


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
