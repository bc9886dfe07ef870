"""Answers about one certificate (OCSP, RFC 6960): good, revoked, or unknown, signed by the CA's responder key.

This is one of the few uses of a key beside the door: the key is good for nothing else, answers are counted, and an
entry per hour says how many. `good` is only what the journal issued and does not revoke. Answers without a nonce are
kept until something changes; how many are signed in a second is limited, because anybody may ask.
"""

from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from ceremonies import entries
from ceremonies.books import Partition, read_partition
from ceremonies.certified import find_by_number, load_authority
from ceremonies.commands import AskStatus, StatusAnswered
from ceremonies.desk import Caller
from ceremonies.door import key_name
from ceremonies.keyring import KeyEntry
from ceremonies.orders import Actor
from ceremonies.responders import OCSP, read_responder
from ceremonies.revoked import RevokedRow, partition_of, write_number
from ceremonies.room import Room
from ceremonies.sums import Tally
from pki.x509.crls import find_algorithm
from pki.x509.errors import StatusRequestMalformed
from pki.x509.issuers import Issuer, read_certificate
from pki.x509.ocsp import (
    MALFORMED,
    TRY_LATER,
    UNAUTHORIZED,
    Span,
    Status,
    StatusRequest,
    assemble_response,
    parse_status_request,
    write_error,
    write_response,
)

RESPONDER: Final = Actor(cred="", role="keyroom", src="", sub="ocsp")
LIFE_S: Final = 3600
"""How long an answer may be used. It is kept here for half of that."""
FRESH_S: Final = 60
"""How long others may keep an answer: a revocation is known everywhere after that."""
KEPT: Final = 10_000
BOOKS_KEPT: Final = 16
LIMITS: Final = {"asked": 200, "known": 40, "unknown": 10, "rows": 20_000}
"""In one second: requests that are looked up, answers that are signed, and rows of revocations that are read for them,
but for the last read, which goes to its end. Who asks for numbers that were never given cannot keep the others waiting.
Answers that are kept cost nothing, and are not limited.
"""
UNKNOWN: Final = Status("unknown")


class Responder(msgspec.Struct, frozen=True):
    """A key that answers for a CA: its certificate (PEM), subject (DER), end in seconds, signature algorithm (DER)."""

    key: KeyEntry
    certificate: bytes
    subject: bytes
    end: int
    algorithm: bytes


class Kept(msgspec.Struct, frozen=True):
    """An answer that was given: until when it is given again, and what it rests on."""

    response: bytes
    until: int
    basis: tuple[str, Tally]


class Statuses:
    """Answers strangers, on the writer's thread where it signs."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._kept: OrderedDict[bytes, Kept] = OrderedDict()
        self._books: OrderedDict[Partition, tuple[Tally, Mapping[str, RevokedRow]]] = OrderedDict()
        self._counts: dict[str, Counter[str]] = {}
        self._second = 0
        self._spent: Counter[str] = Counter()

    async def answer(self, command: AskStatus, caller: Caller) -> StatusAnswered:
        """An OCSP response; one without a signature says why there is none."""
        try:
            request = parse_status_request(command.request)
        except StatusRequestMalformed:
            return StatusAnswered(write_error(MALFORMED), 0)
        kept = None if request.nonce else self._find_kept(request)
        if kept is not None:
            return StatusAnswered(kept.response, FRESH_S)
        if not self._spend("asked"):
            return StatusAnswered(write_error(TRY_LATER), 0)
        return await self._room.act(lambda: self._answer(request))

    async def record(self) -> None:
        """One entry for the answers since the last one; none when there were none."""
        if self._counts:
            await self._room.act(self._record)

    def _record(self) -> None:
        what = {"responders": [{"label": label, **found} for label, found in sorted(self._counts.items())]}
        self._room.ledger.record([entries.event("certificate.status", RESPONDER, what)])
        self._counts = {}

    def _now(self) -> int:
        return self._room.surroundings.now_us() // 1_000_000

    def _spend(self, name: str, amount: int = 1) -> bool:
        """Whether this second has room for more."""
        if self._second != self._now():
            self._second, self._spent = self._now(), Counter()
        within = self._spent[name] < LIMITS[name]
        self._spent[name] += amount
        if not within:
            self._room.count("ocsp_refused")
        return within

    def _find_kept(self, request: StatusRequest) -> Kept | None:
        """An answer that still holds: nothing of its partition has changed, and the certificate is known as before."""
        kept = self._kept.get(request.certificate_id)
        if kept is None or self._now() >= kept.until:
            return None
        ca, tally = kept.basis
        if request.number < 0 or tally != self._tally(ca, request.number):
            return None
        self._kept.move_to_end(request.certificate_id)
        return kept

    def _tally(self, ca: str, number: int) -> Tally:
        if not 0 <= number < 1 << 159:
            return Tally()
        return self._room.ledger.replay.revoked.tally(ca, partition_of(write_number(number)))

    def _answer(self, request: StatusRequest) -> StatusAnswered:
        """Writer's thread. Raises JournalForked when rows are not what the journal says: nothing is answered then."""
        issuer = next((ca for ca in self._authorities() if request.is_about(ca)), None)
        responder = self._find_responder(self._room.door.keyring.get(issuer.spki).label if issuer else "")
        if responder is None:
            return StatusAnswered(write_error(UNAUTHORIZED), 0)
        known = issuer is not None and self._is_issued(issuer, request.number)
        if not self._spend("known" if known else "unknown"):
            return StatusAnswered(write_error(TRY_LATER), 0)
        status = self._judge(issuer, request.number) if issuer and known else UNKNOWN
        if status is None:
            return StatusAnswered(write_error(TRY_LATER), 0)
        now = self._now()
        until = min(now + LIFE_S, responder.end)
        response = self._sign(request, status, responder, (now, until))
        if request.nonce or not known or issuer is None:  # what is unknown may be issued the next moment
            return StatusAnswered(response, 0)
        basis = issuer.spki, self._tally(issuer.spki, request.number)
        self._keep(request, Kept(response, now + (until - now) // 2, basis))
        return StatusAnswered(response, FRESH_S)

    def _sign(self, request: StatusRequest, status: Status, responder: Responder, at: tuple[int, int]) -> bytes:
        span = Span(*(datetime.fromtimestamp(second, UTC) for second in at))
        tbs = write_response(request, status, span, responder.subject)
        raw = self._room.door.strongbox.sign(key_name(responder.key), tbs)
        self._counts.setdefault(responder.key.label, Counter())[status.state] += 1
        self._room.count("ocsp_signed")
        return assemble_response(tbs, responder.algorithm, raw, responder.certificate)

    def _keep(self, request: StatusRequest, kept: Kept) -> None:
        self._kept[request.certificate_id] = kept
        self._kept.move_to_end(request.certificate_id)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)

    def _is_issued(self, issuer: Issuer, number: int) -> bool:
        """Whether this CA issued the number. One that was never given is unknown; others', too."""
        if not 0 <= number < 1 << 159:
            return False
        issued = find_by_number(self._room, write_number(number))
        return issued is not None and issued.ca == issuer.spki

    def _judge(self, issuer: Issuer, number: int) -> Status | None:
        """`good` is what this CA issued and did not revoke; None when this second has no room for finding out."""
        name = write_number(number)
        book = self._read_book((issuer.spki, partition_of(name)))
        row = book.get(name) if book is not None else None
        if row is not None:
            return Status("revoked", row.revoked_us // 1_000_000, row.reason)
        return Status("good") if book is not None else None

    def _read_book(self, at: Partition) -> Mapping[str, RevokedRow] | None:
        """The revoked certificates of a partition, compared with the journal once for each change of it."""
        expected = self._room.ledger.replay.revoked.tally(*at)
        tally, book = self._books.get(at, (None, {}))
        if tally != expected:
            if not self._spend("rows", expected.count):
                return None
            with self._room.store.read() as connection:
                book = {row.number: row for row in read_partition(connection, at, expected)}
            self._books[at] = (expected, book)
        self._books.move_to_end(at)
        while len(self._books) > BOOKS_KEPT:
            self._books.popitem(last=False)
        return book

    def _authorities(self) -> Sequence[Issuer]:
        room = self._room

        def load() -> list[Issuer]:
            ours = [ca for ca in room.ledger.replay.generations.known if ca in room.door.keyring]
            found = [load_authority(room, ca) for ca in ours]
            return [issuer for issuer in found if issuer is not None]

        return room.cached("issuers", load)

    def _find_responder(self, ca: str) -> Responder | None:
        """The responder of a CA, of any CA for an issuer that is not ours; none that is at its end, or suspended."""
        room = self._room
        responders: Sequence[Responder] = room.cached("responders", self._load_responders)
        for item in responders:
            active = room.door.keyring.get(item.key.spki).state == "active"
            if active and ca in ("", item.key.scope) and self._now() < item.end:
                return item
        return None

    def _load_responders(self) -> list[Responder]:
        found = []
        for key in self._room.door.keyring.active(OCSP.role):
            pem = read_responder(self._room, key)
            public_key = self._room.store.blob(key.spki)
            if pem is None or public_key is None:
                continue
            read = read_certificate(pem)
            end = int(read.not_valid_after_utc.timestamp())
            found.append(Responder(key, pem, read.subject.public_bytes(), end, find_algorithm(public_key)))
        return sorted(found, key=lambda item: -item.end)
