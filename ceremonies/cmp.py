"""Certificate Management Protocol (RFC 9483): a signed message is its signer's own command, and gets a signed answer.

The signer is found by the certificate that the message shows, as one who shows it in TLS is: a station, which asks for
its devices as a registration authority (RFC 9483 section 5), or a device, which asks for its LDevID (sections 4.1 and
4.2). From there on the rules, the checks and the entries are those of every other way in.
"""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, TypeVar

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ceremonies.acknowledgements import AcknowledgeCertificate, check_acknowledged
from ceremonies.certified import CertificateUnknown
from ceremonies.cmp_protection import Protection, Responder
from ceremonies.commands import (
    CmpAnswered,
    Command,
    DeviceIssued,
    DocumentsListed,
    EnrolDevice,
    ListCertificates,
    TransactCmp,
)
from ceremonies.desk import Caller, Handler, carry_out, count_refusal, let_in, tag_of
from ceremonies.errors import KeyroomError
from ceremonies.recalls import RecallCertificate, Recalls, find_own, find_unit
from ceremonies.room import Room
from ceremonies.senders import Sender, Senders
from ceremonies.transactions import FRESH, name_answer
from pki.cmp.bodies import Acknowledged, Body, CertificateAsked, Question, RevocationAsked, read_body
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


class AskAuthorities(Command, frozen=True, tag="ask-authorities"):
    """A general message (infoType, DER in hex). Only the keyroom asks this, for the signer of a message."""

    roles = frozenset({"station", "device"})
    kind: str


class Asked(msgspec.Struct, frozen=True):
    """A message whose signer is known. source: the address that it came from."""

    message: Message
    body: Body
    authority: str
    sender: Sender
    source: str


class Cmp:
    """Answers messages."""

    def __init__(self, room: Room, protection: Protection, handlers: Mapping[type[Command], Handler]) -> None:
        self._room = room
        self._protection = protection
        self._enrol: Callable[[EnrolDevice, Caller], Awaitable[Any]] = handlers[EnrolDevice]
        self._list: Callable[[ListCertificates, Caller], Awaitable[Any]] = handlers[ListCertificates]
        self._recalls = Recalls(room)
        self._senders = Senders(room)

    async def transact(self, command: TransactCmp, caller: Caller) -> CmpAnswered:
        """Answer a message. What a known signer may not have is refused in the answer, which is signed, too.

        Raises KeyUnknown for an authority that there is not; what is wrong with the message itself and with its signer
        (`Senders.recognise`), before a key is used; ResponderMissing; and what is no refusal of the protocol (a full
        keyroom, a token that rests).
        """
        room = self._room
        room.door.keyring.labelled(command.authority)
        message = parse_message(command.request)
        sender = await self._senders.recognise(message, command)
        asked = Asked(message, read_body(message), command.authority, sender, caller.actor.src)
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
            sender = asked.sender
            caller = await let_in(self._room, sender.identity, command, asked.source, repeated=sender.repeated)
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
            await self._room.act(lambda: check_old(self._room, old, command.serial, caller))
        issued: DeviceIssued = await self._enrol(command, caller)
        return issued

    async def _acknowledge(self, header: Header, command: AcknowledgeCertificate, caller: Caller) -> None:
        await self._room.act(lambda: check_acknowledged(self._room, header, command, caller))

    async def _inform(self, question: Question, authority: str, command: AskAuthorities, caller: Caller) -> bytes:
        listed: DocumentsListed = await self._list(ListCertificates(recommended=True), caller)
        known = {label: read_pem(document, "CERTIFICATE") for label, _, document in listed.documents}
        return answer_question(question, known, authority)


def check_old(room: Room, old: CertificateName, serial: str, caller: Caller) -> None:
    """The certificate that an update names is the device's present one: of a device that asks itself, its LDevID.

    Writer's thread. Raises CertificateUnknown.
    """
    if caller.actor.role == "device":
        find_own(room, caller.actor.sub, old)
        return
    issued, _ = find_unit(room, old.number, old.issuer)
    if issued.serial != serial:
        raise CertificateUnknown(f"the old certificate is not that of {serial}", hint="name the device's own")


def read_intermediates(chain: bytes) -> list[bytes]:
    """The certificates of a chain (PEM) but the roots, in DER."""
    found = x509.load_pem_x509_certificates(chain)
    return [item.public_bytes(Encoding.DER) for item in found if item.subject != item.issuer]
