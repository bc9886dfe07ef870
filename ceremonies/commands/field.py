"""Devices in the field, as gateways speak for them."""

from typing import Annotated

from msgspec import Meta

from ceremonies.commands.command import Command, RequestId


class OpenChallenge(Command, frozen=True, tag="open-challenge"):
    """A fresh nonce for a receipt, signed by the director key, with the last manifest of an older set as canary."""

    roles = frozenset({"gateway", "operator"})
    id: RequestId
    campaign: Annotated[bytes, Meta(min_length=16, max_length=16)]


class SubmitReceipts(Command, frozen=True, tag="submit-receipts"):
    """Receipts (COSE_Sign1 by the devices' identity keys), each judged alone; one journal entry for the batch."""

    roles = frozenset({"gateway", "operator"})
    receipts: Annotated[tuple[Annotated[bytes, Meta(max_length=1 << 14)], ...], Meta(min_length=1, max_length=256)]
