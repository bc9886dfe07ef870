"""Transactions of CMP: no message counts twice, and a confirmation belongs to the answer that it names.

Nothing is kept of an answer: its nonce is the index of the certificate's entry, and a digest of that entry and of the
transaction. So a confirmation is judged by the journal, whichever keyroom it comes to and however often one started
since. Which messages came is remembered as long as their time would let them in again.
"""

import hashlib
from collections import OrderedDict
from typing import Final

from ceremonies.errors import KeyroomError
from pki.cmp.messages import Header

WINDOW_S: Final = 300
"""How far a message's time may be from ours."""
KEPT: Final = 1 << 17
"""Messages that are remembered: ten minutes of two hundred a second. One that was forgotten, or came before a start of
the keyroom, and comes again, gets what it got: whatever is asked twice is done once.
"""
_DOMAIN: Final = b"kedge-cmp-v1\0"
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
    """Remembers messages of known senders."""

    def __init__(self) -> None:
        self._seen: OrderedDict[bytes, int] = OrderedDict()

    def take(self, sender: str, kind: str, header: Header, now: int) -> None:
        """One message of a sender. kind: of its body; now: seconds since 1970.

        A transaction has one request, and one confirmation. Raises MessageUntimely, MessageReplayed.
        """
        if abs(header.time - now) > WINDOW_S:
            raise MessageUntimely(
                f"the message's time is {header.time - now} s from ours" if header.time >= 0 else "no messageTime",
                hint="set the clock",
            )
        while self._seen and (len(self._seen) >= KEPT or next(iter(self._seen.values())) < now - 2 * WINDOW_S):
            self._seen.popitem(last=False)
        part = b"confirmation" if kind == "certConf" else b"request"
        name = hashlib.sha256(b"\0".join((sender.encode(), part, header.transaction))).digest()[:16]
        if name in self._seen:
            raise MessageReplayed("this transaction had such a message before", hint="begin another transaction")
        self._seen[name] = now


def name_answer(index: int, entry: bytes, transaction: bytes) -> bytes:
    """The senderNonce (32 octets) of an answer with a certificate: its entry's index and leaf hash, the transaction."""
    digest = hashlib.sha256(_DOMAIN + entry + transaction).digest()
    return index.to_bytes(_INDEX, "big") + digest[: 32 - _INDEX]


def read_index(nonce: bytes) -> int:
    """The entry that a recipNonce names; `name_answer` says whether it is right."""
    return int.from_bytes(nonce[:_INDEX], "big")
