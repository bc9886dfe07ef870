"""Certificates that were issued, as the journal records them: by serial, by number, by work order, by CA.

A row says where to look; what counts is the entry there. Single ones are shown to be in the tree, many ones are read
as the database has them: they are listed for officers, and a changed entry is found by upkeep.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, select, true

from ceremonies.errors import KeyroomError
from ceremonies.fleet import Fleet
from ceremonies.journal import RESTORE, JournalForked
from ceremonies.orders import Reservation
from ceremonies.revoked import write_number
from ceremonies.room import Room
from ceremonies.settled import NEVER, Accepted, find_accepted
from ceremonies.store import Store, octets, table_of
from ceremonies.tables import CertificateRow, DeviceRow, DocumentRow, EntryRow, RequestRow, ReservationRow
from pki.x509.issuers import Issuer, read_issuer
from pki.x509.profiles import find_profile

PAGE = 2000
_KIND = "certificate."


class CertificateUnknown(KeyroomError):
    """No certificate with this serial or number was issued here."""

    code = "certificate-unknown"


class NumberTaken(KeyroomError):
    """The certificate number was given before."""

    code = "number-taken"


class Issued(msgspec.Struct, frozen=True, order=True):
    """A certificate that was released. ca: SPKI digest of the key that signed it; number: 40 hex digits; serial: of
    the device, empty for others; kind: `certificate.<profile>`; seq: its outcome entry; not_after: RFC 3339, UTC.
    """

    ca: str
    number: str
    serial: str
    kind: str
    document: str
    seq: int
    subject: str
    not_after: str


def reserve_number(number: int) -> Reservation:
    """The name that a certificate spends for its number (CA-3), by which it is found."""
    drawn = NumberTaken("this certificate number was drawn before", hint="send the request again")
    return Reservation(name_number(write_number(number)), drawn)


def name_number(number: str) -> str:
    """The name that a certificate number (40 hex digits) is."""
    return f"number:{number}"


def place_issuer(room: Room, issuer: Issuer) -> Issuer:
    """A CA as it issues in this fleet."""
    return place_under(room.door.require_governing().policy.fleet, issuer, room.door.keyring.get(issuer.spki).label)


def place_under(fleet: Fleet, issuer: Issuer, label: str) -> Issuer:
    """The CA of this label as it issues in a fleet: where its revocation lists are, and whether its root is one for
    tests.
    """
    url = fleet.revocation.prefix(label) if fleet.revocation else ""
    return msgspec.structs.replace(issuer, crl_url=url, test_root=fleet.test_root)


def find_by_number(room: Room, number: str) -> Issued | None:
    """The certificate with a number of 40 hex digits; None when none was released. Writer's thread.

    Raises JournalForked.
    """
    spent = room.store.find(ReservationRow, name=name_number(number))
    request = room.store.find(RequestRow, id=spent["owner"]) if spent else None
    if request is None:
        authorities = room.cached("authorities", lambda: list_authorities(room))
        return next((item for item in authorities if item.number == number), None)
    if request["outcome"] is None:
        return None
    issued = read_issued(room, request["outcome"])
    if issued.number != number:
        raise JournalForked(f"certificate number {number}: its rows lead to another certificate", hint=RESTORE)
    return issued


def find_by_serial(room: Room, serial: str) -> Issued:
    """The certificate of a device. Writer's thread. Raises CertificateUnknown, JournalForked."""
    row = room.store.find(DeviceRow, serial=serial)
    document = room.store.find(DocumentRow, sha256=row["certificate"]) if row else None
    if row is not None and "/" in row["work_order"]:
        accepted = find_accepted(room, certificate=row["certificate"])
        if accepted is None:
            raise CertificateUnknown(
                f"the certificate of {serial} is a site box's, and counts here no more than its settlement said",
                hint="look at the findings; it counts when the box certifies the device again, under a grant",
            )
        issued = describe_accepted(accepted)
    elif document is None:
        raise CertificateUnknown(f"serial {serial} has no certificate", hint="check the serial")
    else:
        issued = read_issued(room, document["seq"])
    if issued.serial != serial:
        raise JournalForked(f"serial {serial}: its rows lead to another certificate", hint=RESTORE)
    return issued


def describe_accepted(accepted: Accepted) -> Issued:
    """The certificate of a box's device; `seq` is the settlement that accepted it."""
    found = accepted.settled
    return Issued(
        accepted.ca, found.number, found.serial, f"{_KIND}{found.profile}", found.certificate, accepted.seq, "", NEVER
    )


def list_authorities(room: Room) -> list[Issued]:
    """The certificates of the CAs, links among them. Writer's thread. Raises JournalForked."""
    rows = [room.store.find(DocumentRow, sha256=row["document"]) for row in room.store.list(CertificateRow, "label")]
    return [read_issued(room, row["seq"]) for row in rows if row is not None]


def read_issued(room: Room, seq: int) -> Issued:
    """The certificate that entry `seq` released. Writer's thread. Raises JournalForked when it released none."""
    placed, _ = room.ledger.read_entry(seq)
    issued = read_outcome(seq, placed.leaf)
    if issued is None:
        raise JournalForked(f"entry {seq} released no certificate", hint=RESTORE)
    return issued


def read_outcome(seq: int, leaf: bytes) -> Issued | None:
    """The certificate that an entry released, if it is such an entry."""
    entry: Mapping[str, Any] = msgspec.json.decode(leaf)
    operation, out = entry.get("op", {}), entry.get("out", {})
    kind, what = operation.get("kind", ""), operation.get("what", {})
    released = entry["type"] == "key.sign.outcome" and out.get("status") == "ok" and kind.startswith(_KIND)
    if not released or "certificate_number" not in what:
        return None
    number = write_number(int(what["certificate_number"], 16))
    ca = entry["keys"][0]["spki"]
    serial, subject = what.get("serial", ""), what.get("subject", "")
    return Issued(ca, number, serial, kind, out["doc"], seq, subject, what["not_after"])


def walk_order(store: Store, name: str, size: int) -> Iterator[Issued]:
    """What was issued under a work order by the first `size` entries, in the order of its requests' keys."""
    column = table_of(RequestRow).c
    yield from _walk(store, (column.id >= f"order/{name}:") & (column.id < f"order/{name};"), size)


def walk_authority(store: Store, ca: str, size: int) -> Iterator[Issued]:
    """What a CA's key (SPKI digest) signed by the first `size` entries, but for certificates of itself."""
    for issued in _walk(store, true(), size):
        if issued.ca == ca and not issued.kind.endswith("-root"):
            yield issued


def _walk(store: Store, chosen: ColumnElement[bool], size: int) -> Iterator[Issued]:
    """Requests in the order of their keys, page by page, each with its outcome entry."""
    request, entry = table_of(RequestRow).c, table_of(EntryRow).c
    after = ""
    while True:
        query = select(request.id, entry.seq, entry.leaf).where(
            chosen, request.id > after, request.outcome == entry.seq, entry.seq < size
        )
        page = store.rows(query.order_by(request.id).limit(PAGE))
        for row in page:
            issued = read_outcome(row["seq"], octets(row["leaf"]))
            if issued is not None:
                yield issued
        if len(page) < PAGE:
            return
        after = page[-1]["id"]


def read_released(room: Room, digest: str, kind: str) -> bytes:
    """A document that the door released as one of this kind, or that a site box imported as one. Writer's thread.

    Raises JournalForked.
    """
    if room.ledger.replay.grants.papers.get(digest) == kind and (imported := room.store.blob(digest)) is not None:
        return imported
    row = room.store.find(DocumentRow, sha256=digest)
    leaf = room.ledger.read_entry(row["seq"] if row else room.ledger.journal.size)[1]
    document = room.store.blob(digest)
    released = leaf.out and leaf.out.status == "ok" and leaf.out.doc == digest
    if document is None or not released or not leaf.op or leaf.op.kind != kind:
        raise JournalForked(f"document {digest[:16]} is missing, or is no {kind}", hint=RESTORE)
    return document


def load_authority(room: Room, ca: str) -> Issuer | None:
    """The CA of a key (SPKI digest), checked up to its root; None without a certificate. Writer's thread.

    Raises JournalForked, and what `read_issuer` raises.
    """
    authority = room.ledger.replay.generations.known.get(ca)
    if authority is None:
        return None
    profile = find_profile(authority.profile)
    certificate = read_released(room, authority.document, f"certificate.{profile.name}")
    if profile.self_signed:
        return read_issuer(profile, certificate)
    return read_issuer(profile, certificate, load_authority(room, authority.ca))


def load_chain(room: Room, ca: str) -> bytes:
    """What is handed out with the certificates of a CA (SPKI digest): its own certificate and those above it, PEM.

    It never changes, whoever issues now. Writer's thread. Raises JournalForked.
    """
    known = room.ledger.replay.generations.known
    if ca not in known:
        raise JournalForked(f"key {ca[:16]} has no certificate of a CA", hint=RESTORE)

    def load() -> bytes:
        authority, chain = known[ca], b""
        while True:
            chain += read_released(room, authority.document, f"certificate.{authority.profile}")
            if authority.ca == authority.spki:
                return chain
            authority = known[authority.ca]

    return room.cached(("chain", ca), load)


def read_signer(entry: bytes) -> str:
    """The key (SPKI digest) that signed what an outcome entry released."""
    leaf: Mapping[str, Any] = msgspec.json.decode(entry)
    signer: str = leaf["keys"][0]["spki"]
    return signer
