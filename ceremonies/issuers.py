"""The CA that issues now: the generation that the journal says, while it and those above it may sign."""

from typing import Final

from ceremonies.certified import list_authorities, load_authority, load_chain, place_issuer
from ceremonies.errors import KeyroomError
from ceremonies.journal import RESTORE, JournalForked
from ceremonies.keyring import KeyEntry, check_plan
from ceremonies.orders import KeyPlan
from ceremonies.plans import PlanMalformed
from ceremonies.revocations import find_revoked, is_revoked
from ceremonies.room import Room
from ceremonies.tables import CertificateRow
from pki.x509.issuers import Issuer
from pki.x509.profiles import IDENTITY_ROOT

_REVOKED: Final = "revoked-authorities"


class AuthorityUnavailable(KeyroomError):
    """No CA of this kind issues now: its key, or one above it, is suspended or gone, or its certificate was revoked."""

    code = "authority-unavailable"


def load_issuer(room: Room, profile: str) -> tuple[Issuer, bytes]:
    """The CA that issues now, and the chain that is handed out. Writer's thread.

    Raises AuthorityUnavailable, JournalForked.
    """
    key = find_issuing(room, profile)
    issuer = load_authority(room, key.spki)
    if issuer is None:
        raise JournalForked(f"CA {key.label} has no certificate", hint=RESTORE)
    return place_issuer(room, issuer), load_chain(room, key.spki)


def find_issuing(room: Room, profile: str) -> KeyEntry:
    """The key that issues as a CA of this profile; where there are several CAs, that of the last label.

    Writer's thread. Raises AuthorityUnavailable, JournalForked.
    """
    keyring = room.door.keyring
    issuing = [keyring.get(spki) for spki in room.ledger.replay.generations.issuers(profile) if spki in keyring]
    active = sorted((key for key in issuing if key.state == "active"), key=lambda key: key.label)
    if not active:
        raise AuthorityUnavailable(f"no active {profile} issues", hint="see `kedge key list`: was it suspended?")
    check_good(room, active[-1])
    return active[-1]


def check_good(room: Room, key: KeyEntry) -> None:
    """A CA and those above it are active, and none of their certificates is revoked. Writer's thread.

    The root of a site box is its centre's, who says what became of it.

    Raises AuthorityUnavailable, JournalForked.
    """
    known, spki = room.ledger.replay.generations.known, ""
    while spki != key.spki:
        spki = key.spki
        if key.state != "active":
            raise AuthorityUnavailable(f"key {key.label} is {key.state}", hint="officers resume it, or make a new CA")
        if find_revoked(room, known[spki]) is not None:
            raise AuthorityUnavailable(f"the certificate of {key.label} was revoked", hint="officers make a new CA")
        if known[spki].ca not in room.door.keyring:
            return
        key = room.door.keyring.get(known[spki].ca)


async def find_withheld(room: Room) -> frozenset[str]:
    """The certificates of CAs, links among them, that no client is told to believe (SHA-256): those that were revoked,
    and of roots whose key was stopped. Strangers ask this: what is known needs no task of the writer.

    Raises JournalForked.
    """

    def find() -> frozenset[str]:
        return frozenset(item.document for item in list_authorities(room) if is_revoked(room, item))

    revoked: frozenset[str] | None = room.cache.get(_REVOKED)
    if revoked is None:
        revoked = await room.act(lambda: room.cached(_REVOKED, find))
    stopped = [key for key in room.door.keyring if key.state in ("suspended", "compromised")]
    known, roots = room.ledger.replay.generations.known, [key for key in stopped if key.role == IDENTITY_ROOT.name]
    return revoked | {known[key.spki].document for key in roots if key.spki in known}


def check_new_key(room: Room, key: KeyPlan) -> None:
    """A key of a plan may be made: role and algorithm fit, no key here and no CA of a site box has its label, and its
    token is one for its role. Raises KeyPurposeRefused, PlanMalformed.
    """
    check_plan(key.role, key.algorithm)
    if room.store.find(CertificateRow, label=key.label) or any(key.label == other.label for other in room.door.keyring):
        raise PlanMalformed(f"plan: a key {key.label} exists already", hint="give the new key a label of its own")
    if not room.settings.may_hold(key.token, key.role):
        raise PlanMalformed(f"plan: key {key.label} is to live on {key.token}, the settings place {key.role} elsewhere")
