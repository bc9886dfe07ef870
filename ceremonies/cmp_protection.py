"""Answers of CMP are signed by a responder's key (RFC 9483 section 3.2), one that is good for nothing else.

This is one of the few uses of a key beside the door, as answers of OCSP are: what is answered has its entries already,
answers are counted, and an entry per hour says how many. Whom nobody knows here has no key used for it.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from ceremonies import entries
from ceremonies.certified import load_authority
from ceremonies.door import key_name
from ceremonies.errors import KeyroomError
from ceremonies.keyring import KeyEntry
from ceremonies.orders import Actor
from ceremonies.responders import CMP, read_responder
from ceremonies.revocations import is_revoked
from ceremonies.revoked import write_number
from ceremonies.room import Room
from pki.cmp.messages import Header
from pki.cmp.replies import Reply, Signer, Stamp, assemble_answer, write_answer
from pki.x509.builders import key_identifier
from pki.x509.crls import find_algorithm
from pki.x509.issuers import read_certificate
from pki.x509.pem import read_pem

RESPONDER: Final = Actor(cred="", role="keyroom", src="", sub="cmp")
EVERY_S: Final = 3600
"""How often an entry says how many answers there were."""


class ResponderMissing(KeyroomError):
    """No key may sign what CMP answers."""

    code = "responder-missing"


class Responder(msgspec.Struct, frozen=True):
    """A key that signs answers: its names and certificate, its end in seconds, its CA's certificate (DER).

    ca, number: the key of its CA (SPKI digest), its certificate's number (40 hex digits). serial: of no device.
    """

    key: KeyEntry
    signer: Signer
    end: int
    authority: bytes
    ca: str
    number: str
    serial: str = ""


class Protection:
    """Signs answers, on the writer's thread. chore: what is done again and again, every so many seconds."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._counts: dict[str, Counter[str]] = {}
        self.chore: tuple[Callable[[], Awaitable[object]], float] = (self.record, EVERY_S)

    def find(self, authority: str) -> Responder:
        """The responder of a CA; where it has none, another CA's: all of them speak for this keyroom. Writer's thread.

        Raises ResponderMissing when none is active, or all are at their end or revoked; JournalForked.
        """
        room, now = self._room, self._room.surroundings.now_us() // 1_000_000
        responders: Sequence[Responder] = room.cached("cmp-responders", self._load)
        working = [item for item in responders if now < item.end and self._is_good(item)]
        for item in sorted(working, key=lambda item: item.key.scope != authority):
            return item
        raise ResponderMissing(
            "nobody may sign what CMP answers", hint="officers make a responder (ceremony cmp-responder)"
        )

    def sign(self, asked: Header, kind: str, reply: Reply, found: tuple[Responder, bytes]) -> bytes:
        """The answer (DER) to a message. kind: what is counted; found: who signs, and the nonce. Writer's thread."""
        room, (responder, nonce) = self._room, found
        stamp = Stamp(datetime.fromtimestamp(room.surroundings.now_us() // 1_000_000, UTC), nonce)
        part = write_answer(asked, reply, responder.signer, stamp)
        raw = room.door.strongbox.sign(key_name(responder.key), part)
        self._counts.setdefault(responder.key.label, Counter())[kind] += 1
        room.count("cmp_signed")
        shown = dict.fromkeys((responder.signer.certificate, responder.authority, *reply.certificates))
        return assemble_answer(part, raw, tuple(shown))

    async def record(self) -> None:
        """One entry for the answers since the last one; none when there were none."""
        if self._counts:
            await self._room.act(self._record)

    def _record(self) -> None:
        what = {"responders": [{"label": label, **found} for label, found in sorted(self._counts.items())]}
        self._room.ledger.record([entries.event("certificate.message", RESPONDER, what)])
        self._counts = {}

    def _is_good(self, found: Responder) -> bool:
        room = self._room
        if room.door.keyring.get(found.key.spki).state != "active":
            return False
        return not (is_revoked(room, found) or is_revoked(room, room.ledger.replay.generations.known[found.ca]))

    def _load(self) -> list[Responder]:
        room, found = self._room, []
        for key in room.door.keyring.active(CMP.role):
            pem, public_key = read_responder(room, key), room.store.blob(key.spki)
            issuer = load_authority(room, room.door.keyring.labelled(key.scope).spki)
            if pem is None or public_key is None or issuer is None:
                continue
            read = read_certificate(pem)
            ski = key_identifier(public_key)
            signer = Signer(read.subject.public_bytes(), ski, find_algorithm(public_key), read_pem(pem, "CERTIFICATE"))
            end = int(read.not_valid_after_utc.timestamp())
            number = write_number(read.serial_number)
            shown = read_pem(issuer.certificate, "CERTIFICATE")
            found.append(Responder(key, signer, end, shown, issuer.spki, number))
        return sorted(found, key=lambda item: -item.end)
