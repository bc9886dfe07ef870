"""A station takes back a certificate that it was given for a unit, as long as the unit is not confirmed; a device gives
up its LDevID (CMP, rr).

What is confirmed, and what another station was given, only people revoke: a station's key must not end a fleet. So it
is with an IDevID: who has its key for a moment must not end the device.
"""

from typing import Final

from ceremonies.certified import CertificateUnknown, Issued, find_by_number
from ceremonies.commands import Command
from ceremonies.desk import Caller
from ceremonies.issuance import check_business, load_order
from ceremonies.ldevids import Ldevid
from ceremonies.owned import find_ldevid
from ceremonies.revocations import Grounds, Revocable, RevocationRefused, find_revoked, revoke_changes
from ceremonies.revoked import write_number
from ceremonies.rework import is_confirmed, read_present
from ceremonies.room import Room
from ceremonies.store import Row
from ceremonies.tables import DeviceRow
from pki.x509.crmf import CertificateName
from pki.x509.pem import read_pem
from pki.x509.tbs import read_tbs, split_signed

FORBIDDEN: Final = frozenset({"cACompromise", "aACompromise"})
"""Reasons that stations and devices know nothing of."""


class RecallCertificate(Command, frozen=True, tag="recall-certificate"):
    """Revoke the certificate with this number (hex), which this station was given and which is not confirmed; or the
    LDevID by which a device asks this. Only the keyroom asks this, for the signer of a message.
    """

    roles = frozenset({"station", "device"})
    number: str
    reason: str


class Recalls:
    """Revokes what stations take back."""

    def __init__(self, room: Room) -> None:
        self._room = room

    async def recall(self, issuer: bytes, command: RecallCertificate, caller: Caller) -> None:
        """issuer: the name (DER) that the certificate shall have. What is revoked already stays so.

        Raises CertificateUnknown, BindingMismatch, RevocationRefused.
        """
        take_back = self._give_up if caller.actor.role == "device" else self._recall
        await self._room.act(lambda: take_back(issuer, command, caller), urgent=True)

    def _give_up(self, issuer: bytes, command: RecallCertificate, caller: Caller) -> None:
        held = find_own(self._room, caller.actor.sub, CertificateName(issuer, command.number))
        if caller.actor.cred != held.certificate or command.reason in FORBIDDEN:
            raise RevocationRefused(
                "a device revokes the LDevID that signs its message, and for no reason of CAs",
                hint="sign with the LDevID; a new one ends it, too",
            )
        self._revoke(held, Grounds(command.reason, "given up"), caller)

    def _recall(self, issuer: bytes, command: RecallCertificate, caller: Caller) -> None:
        room = self._room
        issued, device = find_unit(room, command.number, issuer)
        order = load_order(room, device["work_order"])
        check_business(order, caller)
        _, leaf = room.ledger.read_entry(issued.seq)
        if not leaf.actor or leaf.actor.sub != caller.actor.sub or command.reason in FORBIDDEN:
            raise RevocationRefused(
                f"this is no reason or no certificate of station {caller.actor.sub}", hint="officers revoke it"
            )
        if find_revoked(room, issued) is None and is_confirmed(room, device):
            raise RevocationRefused(f"unit {issued.serial} is confirmed", hint="call the supervisor: scrap or rework")
        facts = {"station": caller.actor.sub, "work_order": order.id}
        self._revoke(issued, Grounds(command.reason, "taken back", facts), caller)

    def _revoke(self, certificate: Revocable, grounds: Grounds, caller: Caller) -> None:
        room = self._room
        words = revoke_changes(room, [certificate], grounds, caller.actor)
        room.ledger.commit(
            lambda _: words.drafts, lambda placed: (words.changes(placed), ()), settles=room.ledger.settled
        )


def find_unit(room: Room, number: str, issuer: bytes) -> tuple[Issued, Row]:
    """The present certificate of a device by its number (hex) and its issuer's name (DER), and the device's row.

    Writer's thread. Raises CertificateUnknown, JournalForked.
    """
    issued = find_by_number(room, write_number(int(number, 16)))
    device = room.store.find(DeviceRow, serial=issued.serial) if issued and issued.serial else None
    if issued is None or device is None or read_present(room, device)[0] != issued:
        raise CertificateUnknown(f"certificate number {number[:40]} is no device's", hint="check issuer and number")
    check_issuer(room, issued.document, CertificateName(issuer, number))
    return issued, device


def find_own(room: Room, serial: str, name: CertificateName) -> Ldevid:
    """The newest LDevID of a device by its name. Writer's thread. Raises CertificateUnknown, JournalForked."""
    held = find_ldevid(room, serial)
    if held is None or held.number != write_number(int(name.number, 16)):
        raise CertificateUnknown(
            f"certificate number {name.number[:40]} is not the LDevID of {serial}", hint="check issuer and number"
        )
    check_issuer(room, held.certificate, name)
    return held


def check_issuer(room: Room, document: str, name: CertificateName) -> None:
    """The certificate with this digest has the issuer of a name. Writer's thread. Raises CertificateUnknown."""
    pem = room.store.blob(document) or b""
    if read_tbs(split_signed(read_pem(pem, "CERTIFICATE"))[0]).issuer != name.issuer:
        raise CertificateUnknown(
            f"certificate number {name.number[:40]} has another issuer", hint="check issuer and number"
        )
