"""What a device says of a certificate that it was handed out by CMP: a confirmation (certConf) belongs to one answer.

It is judged by the nonce that it answers, and by the journal. It confirms no unit: that takes the device's own
signature (`ConfirmDevice`).
"""

import hashlib

from ceremonies.certified import Issued, read_outcome
from ceremonies.commands import Command, Hex32
from ceremonies.confirmation import ChainMismatch
from ceremonies.desk import Caller
from ceremonies.issuance import check_business, load_order
from ceremonies.journal import RESTORE, JournalForked
from ceremonies.ldevids import KIND as LDEVID
from ceremonies.revocation_tables import RevocationRow
from ceremonies.revocations import REVOKE
from ceremonies.revoked import partition_of
from ceremonies.room import Room
from ceremonies.transactions import WINDOW_S, MessageUnexpected, is_answered, read_index
from pki.cmp.messages import Header
from pki.x509.pem import read_pem


class AcknowledgeCertificate(Command, frozen=True, tag="acknowledge-certificate"):
    """A certificate (SHA-256 of its DER) was taken, or was not. Only the keyroom asks this, for the signer of a
    message.
    """

    roles = frozenset({"station", "device"})
    certificate: Hex32
    accepted: bool


def check_acknowledged(room: Room, header: Header, command: AcknowledgeCertificate, caller: Caller) -> None:
    """A confirmation belongs to an answer of this transaction, to the certificate that the answer had, and to the
    device that speaks for itself, or a station whose business its order is. Writer's thread.

    Raises MessageUnexpected, ChainMismatch, BindingMismatch, JournalForked.
    """
    issued = find_answered(room, header)
    if issued is None:
        raise MessageUnexpected("the confirmation names no answer of this transaction", hint="ask again")
    if caller.actor.role == "device":
        caller.require("serial", issued.serial)
    else:
        _, leaf = room.ledger.read_entry(issued.seq)
        what = (leaf.op and leaf.op.what) or {}
        if "work_order" not in what:
            raise MessageUnexpected("the confirmation is of no unit's certificate", hint="the device confirms it")
        check_business(load_order(room, str(what["work_order"])), caller)
    pem = room.store.blob(issued.document) or b""
    if hashlib.sha256(read_pem(pem, "CERTIFICATE")).hexdigest() != command.certificate:
        raise ChainMismatch(
            f"the certificate of {issued.serial} is not the one that was handed out", hint="ask for it again"
        )


def find_answered(room: Room, header: Header) -> Issued | None:
    """The certificate of the answer whose nonce a message names; None when there is none. Writer's thread."""
    index = read_index(header.answered)
    if index >= room.ledger.journal.size:
        return None
    placed, _ = room.ledger.read_entry(index)
    if not is_answered(header.answered, index, placed.hash, header.transaction):
        return None
    return read_outcome(index, placed.leaf)


def is_succeeded(room: Room, header: Header, shown: Issued) -> bool:
    """Whether the LDevID that a message shows was revoked for the one that the message confirms, and just now: a
    transaction ends as it began, signed with the certificate that was updated (RFC 9483 section 4.1.3).

    Writer's thread. Raises JournalForked.
    """
    issued = find_answered(room, header)
    if issued is None or (issued.kind, shown.kind) != (LDEVID, LDEVID) or issued.serial != shown.serial:
        return False
    # The one row and its entry: to read a whole partition is too much for what nobody has verified yet.
    row = room.store.find(RevocationRow, ca=shown.ca, partition=partition_of(shown.number), number=shown.number)
    _, leaf = room.ledger.read_entry(row["seq"] if row else 0)
    what = (leaf.op and leaf.op.what) or {}
    if row is None or leaf.type != REVOKE or what["ca"] != shown.ca or shown.number not in what["numbers"]:
        raise JournalForked(f"LDevID of {shown.serial}: its row is not what the journal says", hint=RESTORE)
    age_us: int = room.surroundings.now_us() - what["at"]
    follows: bool = shown.seq < issued.seq < row["seq"]
    return follows and age_us < 2 * WINDOW_S * 1_000_000
