"""Units of a work order after their first certificate, and what becomes of the order."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from ceremonies.commands.command import STAFF, Command, Hex32, Name
from ceremonies.commands.factory import BATCH_LIMIT

ROWS_LIMIT = 1000
Reason = Annotated[str, Meta(min_length=1, max_length=256)]
ConfirmationSignature = Annotated[bytes, Meta(min_length=8, max_length=80)]


class ConfirmDevice(Command, frozen=True, tag="confirm-device"):
    """A unit is built: the SHA-256 of certificate and chain as read back from it, and its signature (ES256, raw or DER)
    over that and the nonce of its certificate (`pki.x509.confirmations`). Idempotent.
    """

    roles = frozenset({"station"})
    work_order: Name
    serial: Name
    chain_sha256: Hex32
    signature: ConfirmationSignature


class Confirmation(Struct, frozen=True, forbid_unknown_fields=True):
    """One item of a batch of confirmations."""

    serial: Name
    chain_sha256: Hex32
    signature: ConfirmationSignature


class ConfirmDevices(Command, frozen=True, tag="confirm-devices"):
    """Confirmations inside one work order, each judged alone, written in one commit."""

    roles = ConfirmDevice.roles
    work_order: Name
    items: Annotated[tuple[Confirmation, ...], Meta(min_length=1, max_length=BATCH_LIMIT)]


class PermitRework(Command, frozen=True, tag="permit-rework"):
    """Let one serial get a certificate for another key, once. Counted against the order's rework quantity."""

    roles = frozenset({"operator"})
    work_order: Name
    serial: Name
    reason: Reason


class ScrapDevice(Command, frozen=True, tag="scrap-device"):
    """A unit is scrapped: its certificate is revoked, and what it used of the quota stays used."""

    roles = frozenset({"operator"})
    work_order: Name
    serial: Name
    reason: Reason


class ListWorkOrders(Command, frozen=True, tag="list-work-orders"):
    """The work orders in figures; an operator sees those of the own plants."""

    roles = STAFF


class ShowWorkOrder(Command, frozen=True, tag="show-work-order"):
    """One work order in figures."""

    roles = STAFF
    work_order: Name


class ReportUnits(Command, frozen=True, tag="report-units"):
    """The units of a work order, by serial, those after `after`; only those in `state` where one is named."""

    roles = STAFF
    work_order: Name
    after: Annotated[str, Meta(max_length=64, pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]*)?\Z")] = ""
    state: Literal["", "unconfirmed", "confirmed", "scrapped", "excused", "revoked"] = ""
    limit: Annotated[int, Meta(ge=1, le=ROWS_LIMIT)] = ROWS_LIMIT
