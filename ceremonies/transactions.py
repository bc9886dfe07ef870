"""Transactions of CMP: no message counts twice, and a confirmation belongs to the answer that it names.

Nothing is kept of an answer: its nonce is random, and goes on with the index of the certificate's entry and a digest of
that entry, of the transaction and of what is random. So a confirmation is judged by the journal, whichever keyroom it
comes to and however often one started since. Which messages came is remembered as long as their time would let them in
again.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final

from ceremonies.errors import KeyroomError
from ceremonies.tokens import Identity
from pki.cmp.messages import Message

WINDOW_S: Final = 300
"""How far a message's time may be from ours."""
KEPT: Final = 1 << 16
"""Messages that are remembered of all devices together: ten minutes of a hundred a second. One that was forgotten, or
came before a start of the keyroom, and comes again, gets what it got: whatever is asked twice is done once.
"""
SAVED_S: Final = 20
"""For how long a station may save up its rate (`ceremonies.vigilance`)."""
FRESH: Final = 16
"""Random octets at the beginning of every answer's nonce (RFC 9483 section 3.1: 128 bits)."""
_DOMAIN: Final = b"kedge-cmp-v2\0"
_INDEX: Final = 8


class MessageUntimely(KeyroomError):
    """The message has no time, or one that is too far from ours."""

    code = "message-untimely"


class MessageReplayed(KeyroomError):
    """The message came before."""

    code = "message-replayed"


class MessageUnexpected(KeyroomError):
    """The message answers none of ours in its transaction."""

    code = "message-unexpected"


class Transactions:
    """Remembers messages of known senders. No station's are forgotten for those of others, and none of those that its
    rate lets in are before they are too late: said again from elsewhere, they would look like a second machine.

    began: when this began, in seconds since 1970; what came before is not remembered. rate: of a station, a second.
    """

    def __init__(self, began: int, rate: int) -> None:
        self._began = began
        self._most = rate * (2 * WINDOW_S + SAVED_S)
        self._seen: OrderedDict[str, OrderedDict[bytes, int]] = OrderedDict()

    def take(self, sender: Identity, message: Message, now: int, spend: Callable[[], None]) -> bool:
        """One message, whose signature was verified. now: seconds since 1970. spend: counts it against its sender's
        rate. That is done once: whoever sends on what he heard spends nothing of anybody's.

        True when the message may have come before this began: nobody knows then who sends it now. A transaction has
        one request, and one confirmation. Raises MessageUntimely, MessageReplayed, and what `spend` raises; a device's
        message may come again then.
        """
        header = message.header
        if abs(header.time - now) > WINDOW_S:
            raise MessageUntimely(
                f"the message's time is {header.time - now} s from ours" if header.time >= 0 else "no messageTime",
                hint="set the clock",
            )
        part = b"confirmation" if message.kind == "certConf" else b"request"
        named = (sender.role.encode(), sender.sub.encode(), part, header.transaction)
        name = hashlib.sha256(b"\0".join(named)).digest()[:16]
        holder = sender.sub if sender.role == "station" else ""
        kept: Mapping[bytes, int] = self._seen.get(holder, {})
        if name in kept:
            raise MessageReplayed("this transaction had such a message before", hint="begin another transaction")
        try:
            spend()
        except KeyroomError:
            # Refused is refused: else whoever heard it sends it from elsewhere, as soon as there is room again.
            if holder and len(kept) < self._most:
                self._remember(holder, name, now)
            raise
        self._remember(holder, name, now)
        return header.time <= self._began + WINDOW_S

    def _remember(self, holder: str, name: bytes, now: int) -> None:
        """Keep a name, and let go of what is too old, and of stations that are silent."""
        kept, most = self._seen.setdefault(holder, OrderedDict()), 2 * self._most if holder else KEPT
        while kept and (len(kept) >= most or next(iter(kept.values())) < now - 2 * WINDOW_S):
            kept.popitem(last=False)
        kept[name] = now
        self._seen.move_to_end(holder)
        while next(reversed(next(iter(self._seen.values())).values())) < now - 2 * WINDOW_S:
            self._seen.popitem(last=False)


def name_answer(fresh: bytes, index: int, entry: bytes, transaction: bytes) -> bytes:
    """The senderNonce (32 octets) of an answer with a certificate: 16 random octets, its entry's index, and the
    beginning of a digest of these, of the entry's leaf hash and of the transaction.
    """
    named = fresh + index.to_bytes(_INDEX, "big")
    return named + hashlib.sha256(_DOMAIN + named + entry + transaction).digest()[: 32 - len(named)]


def read_index(nonce: bytes) -> int:
    """The entry that a recipNonce names; `is_answered` says whether it is right."""
    return int.from_bytes(nonce[FRESH : FRESH + _INDEX], "big")


def is_answered(nonce: bytes, index: int, entry: bytes, transaction: bytes) -> bool:
    """Whether a recipNonce is the nonce of an answer with the certificate of this entry, in this transaction."""
    return nonce == name_answer(nonce[:FRESH], index, entry, transaction)
