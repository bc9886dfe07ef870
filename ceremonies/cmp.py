"""Certificate Management Protocol (RFC 9483): a signed message is its signer's own command, and gets a signed answer.

The signer is found by the certificate that the message shows, as one who shows it in TLS is: a station, today, which
asks for its devices as a registration authority (RFC 9483 section 5). From there on the rules, the checks and the
entries are those of every other way in.
"""

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, TypeVar

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ceremonies.certified import CertificateUnknown, read_outcome
from ceremonies.cmp_protection import Protection, Responder
from ceremonies.commands import (
    CmpAnswered,
    Command,
    DeviceIssued,
    DocumentsListed,
    EnrolDevice,
    Hex32,
    ListCertificates,
    TransactCmp,
)
from ceremonies.confirmation import ChainMismatch
from ceremonies.desk import Caller, Handler, carry_out, count_refusal, let_in, tag_of
from ceremonies.errors import KeyroomError
from ceremonies.recalls import RecallCertificate, Recalls, find_unit
from ceremonies.room import Room
from ceremonies.tokens import Identity
from ceremonies.transactions import FRESH, MessageUnexpected, Transactions, is_answered, name_answer, read_index
from pki.cmp.bodies import Acknowledged, Body, CertificateAsked, Question, RevocationAsked, read_body
from pki.cmp.envelopes import find_signer, verify_message
from pki.cmp.failures import FAILURES
from pki.cmp.information import answer_question
from pki.cmp.messages import Header, Message, parse_message
from pki.cmp.replies import Reply, confirm, confirm_revocation, grant_certificate, refuse
from pki.errors import PkiError
from pki.log.merkle import leaf_hash
from pki.x509.crmf import CertificateName
from pki.x509.pem import read_pem
from pki.x509.tbs import read_tbs, split_signed

R = TypeVar("R")


class AcknowledgeCertificate(Command, frozen=True, tag="acknowledge-certificate"):
    """A device has taken a certificate (SHA-256 of its DER), or has not. Only the keyroom asks this, for the signer of
    a message. It confirms no unit: that takes the device's own signature (`ConfirmDevice`).
    """

    roles = frozenset({"station"})
    certificate: Hex32
    accepted: bool


class AskAuthorities(Command, frozen=True, tag="ask-authorities"):
    """A general message (infoType, DER in hex). Only the keyroom asks this, for the signer of a message."""

    roles = frozenset({"station"})
    kind: str


class Asked(msgspec.Struct, frozen=True):
    """A message whose signer is known. source: the address that it came from.

    repeated: it may have come before this keyroom's start, and be sent by another now.
    """

    message: Message
    body: Body
    authority: str
    identity: Identity
    source: str
    repeated: bool


class Cmp:
    """Answers messages."""

    def __init__(self, room: Room, protection: Protection, handlers: Mapping[type[Command], Handler]) -> None:
        self._room = room
        self._protection = protection
        self._enrol: Callable[[EnrolDevice, Caller], Awaitable[Any]] = handlers[EnrolDevice]
        self._list: Callable[[ListCertificates, Caller], Awaitable[Any]] = handlers[ListCertificates]
        self._recalls = Recalls(room)
        self._transactions = Transactions(room.surroundings.now_us() // 1_000_000)

    async def transact(self, command: TransactCmp, caller: Caller) -> CmpAnswered:
        """Answer a message. What a known signer may not have is refused in the answer, which is signed, too.

        Raises KeyUnknown for an authority that there is not; what is wrong with the message itself and with its signer
        (`pki.cmp.envelopes`, `Stations.identify`), before a key is used; MessageUntimely, MessageReplayed;
        ResponderMissing; and what is no refusal of the protocol (a full keyroom, a token that rests).
        """
        room, now = self._room, self._room.door.now()
        room.door.keyring.labelled(command.authority)
        message = parse_message(command.request)
        # Only bytes that we issued are believed, and only then a signature is verified: with a key that we know.
        identity = room.ledger.replay.stations.identify(find_signer(message), now)
        verify_message(message)
        spend = partial(room.vigilance.spend, identity.sub, command)
        repeated = self._transactions.take(identity, message, int(now.timestamp()), spend)
        asked = Asked(message, read_body(message), command.authority, identity, caller.actor.src, repeated)
        responder = await room.act(lambda: self._protection.find(command.authority))
        return CmpAnswered(await self._answer(asked, responder))

    async def _answer(self, asked: Asked, responder: Responder) -> bytes:
        kind, header = asked.message.kind, asked.message.header
        try:
            reply, nonce = await self._carry_out(asked)
        except (KeyroomError, PkiError) as error:
            if error.code not in FAILURES:
                raise
            said = f"{error.code}: {error.message}"
            reply, nonce = Reply(refuse(kind, FAILURES[error.code], said)), self._room.surroundings.entropy(FRESH)
        return await self._room.act(lambda: self._protection.sign(header, kind, reply, (responder, nonce)))

    async def _carry_out(self, asked: Asked) -> tuple[Reply, bytes]:
        """What a message asks for, done as a command of its signer; the answer, and its nonce."""
        body, nonce = asked.body, self._room.surroundings.entropy(FRESH)
        match body:
            case CertificateAsked():
                reply, index, entry = await self._issue(asked, body)
                return reply, name_answer(nonce, index, entry, asked.message.header.transaction)
            case RevocationAsked(name, reason):
                recall = RecallCertificate(name.number, reason)
                await self._do(asked, recall, partial(self._recalls.recall, name.issuer))
                return Reply(confirm_revocation()), nonce
            case Acknowledged(sha256, accepted):
                acknowledge = AcknowledgeCertificate(sha256.hex(), accepted)
                await self._do(asked, acknowledge, partial(self._acknowledge, asked.message.header))
                return Reply(confirm()), nonce
            case Question():
                inform = partial(self._inform, body, asked.authority)
                return Reply(await self._do(asked, AskAuthorities(body.kind.hex()), inform)), nonce

    async def _do(self, asked: Asked, command: Command, handler: Callable[[Any, Caller], Awaitable[R]]) -> R:
        """As the desk does a command of somebody who shows the certificate in TLS."""
        self._room.count(f"requests_{tag_of(command)}")
        try:
            caller = await let_in(self._room, asked.identity, command, asked.source, repeated=asked.repeated)
            return await carry_out(self._room, handler, command, caller)
        except Exception as error:
            count_refusal(self._room, command, error)
            raise

    async def _issue(self, asked: Asked, body: CertificateAsked) -> tuple[Reply, int, bytes]:
        """The answer with a certificate, and its entry: index and leaf hash."""
        command = EnrolDevice(asked.authority, body.serial, body.request, "crmf" if body.form else "")
        issued = await self._do(asked, command, partial(self._certify, body.old))
        certificate = read_pem(issued.certificate, "CERTIFICATE")
        modified = read_tbs(split_signed(certificate)[0]).subject != body.subject
        reply = Reply(
            grant_certificate(asked.message.kind, certificate, modified=modified),
            tuple(read_intermediates(issued.chain)),
            asked.message.header.implicit,
        )
        return reply, issued.proven.index, leaf_hash(issued.proven.entry)

    async def _certify(self, old: CertificateName | None, command: EnrolDevice, caller: Caller) -> DeviceIssued:
        if old is not None:
            await self._room.act(lambda: check_old(self._room, old, command.serial))
        issued: DeviceIssued = await self._enrol(command, caller)
        return issued

    async def _acknowledge(self, header: Header, command: AcknowledgeCertificate, caller: Caller) -> None:
        await self._room.act(lambda: check_acknowledged(self._room, header, command.certificate))

    async def _inform(self, question: Question, authority: str, command: AskAuthorities, caller: Caller) -> bytes:
        listed: DocumentsListed = await self._list(ListCertificates(recommended=True), caller)
        known = {label: read_pem(document, "CERTIFICATE") for label, _, document in listed.documents}
        return answer_question(question, known, authority)


def check_old(room: Room, old: CertificateName, serial: str) -> None:
    """The certificate that an update names is the device's present one. Writer's thread. Raises CertificateUnknown."""
    issued, _ = find_unit(room, old.number, old.issuer)
    if issued.serial != serial:
        raise CertificateUnknown(f"the old certificate is not that of {serial}", hint="name the device's own")


def check_acknowledged(room: Room, header: Header, sha256: str) -> None:
    """A confirmation belongs to an answer of this transaction, and to the certificate that the answer had.

    Writer's thread. Raises MessageUnexpected, ChainMismatch.
    """
    index = read_index(header.answered)
    placed = room.ledger.read_entry(index)[0] if index < room.ledger.journal.size else None
    issued = read_outcome(index, placed.leaf) if placed else None
    if not placed or not issued or not is_answered(header.answered, index, placed.hash, header.transaction):
        raise MessageUnexpected("the confirmation names no answer of this transaction", hint="ask again")
    pem = room.store.blob(issued.document) or b""
    if hashlib.sha256(read_pem(pem, "CERTIFICATE")).hexdigest() != sha256:
        raise ChainMismatch(
            f"the certificate of {issued.serial} is not the one that was handed out", hint="ask for it again"
        )


def read_intermediates(chain: bytes) -> list[bytes]:
    """The certificates of a chain (PEM) but the roots, in DER."""
    found = x509.load_pem_x509_certificates(chain)
    return [item.public_bytes(Encoding.DER) for item in found if item.subject != item.issuer]
