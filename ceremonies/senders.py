"""Who signed a message of CMP: a station or a device, known by the certificate that the message shows, as in TLS.

Only bytes that were issued here are believed, and only then a signature is verified: with a key that is known. The
writer is not asked before, and strangers are looked up one after the other, on a thread of their own: they make devices
wait that speak CMP, too, and nobody else.
"""

import asyncio
from functools import partial

import msgspec

from ceremonies.acknowledgements import is_succeeded
from ceremonies.commands import TransactCmp
from ceremonies.devices import Devices, find_digest
from ceremonies.room import Room
from ceremonies.stations import ClientCertificateUnknown
from ceremonies.tokens import Identity
from ceremonies.transactions import Transactions
from pki.cmp.envelopes import find_signer, verify_message
from pki.cmp.messages import Message


class Sender(msgspec.Struct, frozen=True):
    """Who signed a message. repeated: it may have come before this keyroom's start, and be sent by another now."""

    identity: Identity
    repeated: bool


class Senders:
    """Finds out who signed a message, and counts it."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._devices = Devices(room)
        self._looking = asyncio.Lock()
        self._transactions = Transactions(room.surroundings.now_us() // 1_000_000, room.settings.station_rate)

    async def recognise(self, message: Message, command: TransactCmp) -> Sender:
        """The sender of a message that is signed, near its time, and new.

        Raises MessageUnprotected, MessageForged, MessageUntimely, MessageReplayed, StationTooFast, DeviceTooFast, and
        what `Stations.identify` and `Devices.recognise` raise.
        """
        identity = await self._identify(message)
        spend = partial(self._devices.spend, identity.sub)
        if identity.role == "station":
            spend = partial(self._room.vigilance.spend, identity.sub, command)
        now = self._room.surroundings.now_us() // 1_000_000
        return Sender(identity, self._transactions.take(identity, message, now, spend))

    async def _identify(self, message: Message) -> Identity:
        room, certificate = self._room, find_signer(message)
        try:
            identity = room.ledger.replay.stations.identify(certificate, room.door.now())
        except ClientCertificateUnknown:
            async with self._looking:
                await asyncio.to_thread(find_digest, room, certificate)
            verify_message(message)
            excuse = partial(is_succeeded, room, message.header) if message.kind == "certConf" else None
            return await self._devices.recognise(certificate, excuse)
        verify_message(message)
        return identity
