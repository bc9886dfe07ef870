"""CAs of sites: which one a label names, which one serves a site, and the ceremony that makes one.

A site may have several: one for each operator, or one in the place of another that was compromised.
"""

import datetime
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from ceremonies.certified import list_authorities, load_authority, place_issuer
from ceremonies.errors import KeyroomError
from ceremonies.genesis import certificate_changes, draw_certificate
from ceremonies.issuers import AuthorityUnavailable, check_good, check_new_key, load_issuer
from ceremonies.journal import RESTORE, JournalForked
from ceremonies.keyring import KeyEntry
from ceremonies.orders import KeyPlan
from ceremonies.plans import Name, PlanMalformed, Positive, read_plan, write_plan
from ceremonies.procedures import Action, Item
from ceremonies.room import Room
from ceremonies.tables import CertificateRow
from ceremonies.trustsets import KeyBook, rehearse_keys
from pki.names import AuthoritySubject
from pki.x509.certificates import draft_certificate
from pki.x509.issuers import Issuer, read_organization
from pki.x509.profiles import IDENTITY_ROOT, SITE_CA
from pki.x509.rules import ORGANIZATIONAL_UNIT
from pki.x509.tbs import read_name
from pki.x509.terms import Terms

ROLE: Final = SITE_CA.name


class AuthorityUnknown(KeyroomError):
    """There is no CA of this label that issues for a site now."""

    code = "authority-unknown"


class SiteAuthority(msgspec.Struct, frozen=True):
    """A CA of a site that issues: its label, the site, organization (O), the CA as it issues."""

    label: str
    site: str
    organization: str
    issuer: Issuer


class SitePlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A new CA of a site: key `label` on `token`; the certificate's name (no CA has it yet), certified for `days`."""

    label: Name
    token: Name
    site: Annotated[str, Meta(min_length=1, max_length=64)]
    name: Annotated[str, Meta(min_length=1, max_length=60)]
    days: Positive


def find_authority(room: Room, label: str) -> SiteAuthority:
    """The CA of a site by the label of any of its generations. Writer's thread.

    Raises AuthorityUnknown, JournalForked.
    """
    keyring, generations = room.door.keyring, room.ledger.replay.generations
    for spki in generations.issuers(ROLE):
        family = generations.generations(generations.known[spki].name)
        if label in [keyring.get(item.spki).label for item in family] and (found := _read(room, spki)) is not None:
            return found
    raise AuthorityUnknown(f"{label} is no CA that issues for a site now", hint="ask under the label of the site's CA")


def find_label(room: Room, site: str) -> str:
    """The label of the CA that issues for a site, the one made last; empty when there is none. Writer's thread."""
    found = [_read(room, spki) for spki in room.ledger.replay.generations.issuers(ROLE)]
    mine = [item for item in found if item is not None and item.site == site]
    return max(mine, key=lambda item: item.issuer.not_before).label if mine else ""


def _read(room: Room, spki: str) -> SiteAuthority | None:
    """None while it may not issue."""
    key = room.door.keyring.get(spki)
    try:
        check_good(room, key)
    except AuthorityUnavailable:
        return None
    authority: SiteAuthority = room.cached(("site", spki), lambda: _load(room, key))
    return authority


def _load(room: Room, key: KeyEntry) -> SiteAuthority:
    issuer = load_authority(room, key.spki)
    if issuer is None:
        raise JournalForked(f"CA {key.label} has no certificate", hint=RESTORE)
    place = place_issuer(room, issuer)
    return SiteAuthority(key.label, read_site(issuer), read_organization(issuer), place)


def read_site(issuer: Issuer) -> str:
    """The site that a CA is for: its OU."""
    return next(item.value.decode() for item in read_name(issuer.subject) if item.oid == ORGANIZATIONAL_UNIT)


def prepare_site(room: Room, data: bytes) -> dict[str, Any]:
    """The key and its certificate, drafted with a throw-away key first. Raises PlanMalformed."""
    plan: SitePlan = read_plan(data, SitePlan)
    key = KeyPlan(plan.label, ROLE, "p256", plan.token, plan.site)
    check_new_key(room, key)
    recipe = {"now": room.surroundings.now_us() // 1_000_000, "number": f"{1 << 158:x}"}
    room.writer.run_now(lambda: draft_items(room, rehearse_keys([key]), plan, recipe))
    return {"content": write_plan(plan), "keys": [key.fields], "states": {"active": [plan.label]}}


def draft_site(room: Room, shown: Mapping[str, Any], recipe: Mapping[str, Any]) -> Sequence[Item]:
    """The certificate of the key that exists now."""
    plan = msgspec.convert(shown["content"], SitePlan)
    return draft_items(room, KeyBook(room.door.keyring, room.store.blob), plan, recipe)


def draft_items(room: Room, book: KeyBook, plan: SitePlan, recipe: Mapping[str, Any]) -> Sequence[Item]:
    """The CA's certificate; no two CAs have one name. Writer's thread.

    Raises PlanMalformed, AuthorityUnavailable, what the draft raises.
    """
    root, _ = load_issuer(room, IDENTITY_ROOT.name)
    subject = AuthoritySubject(read_organization(root), plan.name, 1, plan.site)
    if any(item.subject == str(subject) and item.document != _find_own(room, plan) for item in list_authorities(room)):
        raise PlanMalformed(f"plan: there is a CA {subject}", hint="give the new one another name")
    start = datetime.datetime.fromtimestamp(recipe["now"], datetime.UTC)
    terms = Terms(int(recipe["number"], 16), start, start + datetime.timedelta(days=plan.days))
    public_key = book.public_key(plan.label)
    draft = draft_certificate(SITE_CA, subject, public_key, root, terms)
    spki = book.keyring.labelled(plan.label).spki
    return [Item(plan.label, draft, certificate_changes(plan.label, spki))]


def _find_own(room: Room, plan: SitePlan) -> str:
    """The certificate that this plan led to already: its results may be executed again after a crash."""
    row = room.store.find(CertificateRow, label=plan.label)
    return str(row["document"]) if row else ""


SITE_ACTION = Action(prepare=prepare_site, kinds=("key.generate",), draw=draw_certificate, draft=draft_site)
