"""The CA that issues now: the generation that the journal says, while it and those above it may sign."""

from collections.abc import Iterator

from ceremonies.certified import list_authorities, load_authority, load_chain, place_issuer
from ceremonies.errors import KeyroomError
from ceremonies.journal import RESTORE, JournalForked
from ceremonies.keyring import KeyEntry
from ceremonies.revocations import find_revoked
from ceremonies.room import Room
from pki.x509.issuers import Issuer


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
    issuing = [room.door.keyring.get(spki) for spki in room.ledger.replay.generations.issuers(profile)]
    active = sorted((key for key in issuing if key.state == "active"), key=lambda key: key.label)
    if not active:
        raise AuthorityUnavailable(f"no active {profile} issues", hint="see `kedge key list`: was it suspended?")
    check_good(room, active[-1])
    return active[-1]


def check_good(room: Room, key: KeyEntry) -> None:
    """A CA and those above it are active, and none of their certificates is revoked. Writer's thread.

    Raises AuthorityUnavailable, JournalForked.
    """
    known = room.ledger.replay.generations.known
    documents = {known[spki].document: room.door.keyring.get(spki) for spki in _climb(room, key.spki)}
    for above in documents.values():
        if above.state != "active":
            raise AuthorityUnavailable(f"key {above.label} is {above.state}", hint="officers resume it")
    for item in list_authorities(room):
        if item.document in documents and find_revoked(room, item):
            raise AuthorityUnavailable(
                f"the certificate of {documents[item.document].label} was revoked", hint="officers make a new CA"
            )


def _climb(room: Room, spki: str) -> Iterator[str]:
    """A CA's key and those above it."""
    known = room.ledger.replay.generations.known
    yield spki
    while known[spki].signer != spki:
        spki = known[spki].signer
        yield spki
