"""Rows compared with what follows from the entries: an index over signed bytes is never believed alone."""

import hashlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from sqlalchemy import Connection, func, select

from ceremonies.element_tables import ElementRow
from ceremonies.elements import check_elements
from ceremonies.fleet_tables import BaselineRow, RegisterRequestRow, RegisterRow
from ceremonies.generations import AUTHORITIES, LINK
from ceremonies.grant_tables import BoxCertificateRow, QuotaGrantRow
from ceremonies.journal import RESTORE, JournalForked
from ceremonies.keyring import Keyring
from ceremonies.ldevid_tables import LdevidRow
from ceremonies.ldevids import check_ldevids
from ceremonies.registered import check_register
from ceremonies.replay import Decision, Replay
from ceremonies.revocation_tables import RevocationRow
from ceremonies.store import Store, octets, table_of
from ceremonies.tables import (
    ApprovalRow,
    CertificateRow,
    CounterUpdateRow,
    DeviceRow,
    DocumentRow,
    GoverningRow,
    ReleaseRow,
    RequestRow,
    TrustSetRow,
    WorkOrderRow,
)
from ceremonies.unit_tables import ConfirmationRow, ReplacedDeviceRow, ReworkQuotaRow, ScrapRow

# Each sealed document of these kinds has one row of its own.
DERIVED = (
    (DeviceRow, ("certificate.idevid", "certificate.ieee2030-5-device")),
    (CertificateRow, (*AUTHORITIES, LINK)),
    (TrustSetRow, ("trust-set",)),
    (CounterUpdateRow, ("counter-update",)),
    (ReleaseRow, ("fw-manifest",)),
    (BaselineRow, ("baseline",)),
)


def check_rows(store: Store, replay: Replay, keyring: Keyring) -> None:
    """Compare rows with what the journal says, but for their number. Raises JournalForked at the first difference."""
    _demand("keys", {key.spki: key for key in keyring} == replay.keys)
    quotas = {row["id"]: (row["quantity"], row["issued"]) for row in store.list(WorkOrderRow, "id")}
    _demand("work orders", quotas == {name: (item.quantity, item.issued) for name, item in replay.quotas.items()})
    rework = {row["work_order"]: (row["quantity"], row["opened"]) for row in store.list(ReworkQuotaRow, "work_order")}
    permits = {name: (item.rework, item.reworked) for name, item in replay.units.orders.items() if item.rework}
    _demand("quotas of rework", rework == permits)
    granted = {row["id"]: (row["quantity"], row["issued"]) for row in store.list(QuotaGrantRow, "id")}
    _demand("grants", granted == {name: (item.quantity, item.used) for name, item in replay.grants.held.items()})
    governing = {row["name"]: row["seq"] for row in store.list(GoverningRow, "name")}
    _demand("roster and policy", governing == replay.governing)
    for ceremony, step in replay.approvals:
        check_approvals(store, replay, ceremony, step)


def check_approvals(store: Store, replay: Replay, ceremony: str, step: str) -> None:
    """A step's decisions are those of the journal: none is added, altered or taken away. Raises JournalForked."""
    rows = store.list(ApprovalRow, "officer", ceremony=ceremony, step=step)
    found = {
        row["officer"]: Decision(
            row["seq"], row["hash"], _sha256(octets(row["statement"])), _sha256(octets(row["signature"]))
        )
        for row in rows
    }
    _demand(f"approvals of step {step} of {ceremony}", found == replay.approvals.get((ceremony, step), {}))


def check_counts(store: Store, replay: Replay) -> None:
    """Count the rows of tables that grow with the journal. Raises JournalForked at the first difference."""
    with store.read() as connection:
        for model, expected in list_counts(replay).items():
            check_count(connection, model, expected)
        for check in list_checks(replay).values():
            check(connection)


def list_checks(replay: Replay) -> Mapping[Any, Callable[[Connection], None]]:
    """What is read row by row, as the journal says it now."""
    return {
        RegisterRow: partial(check_register, expected=replay.register.tally),
        ElementRow: partial(check_elements, expected=replay.elements.tally),
        LdevidRow: partial(check_ldevids, expected=replay.ldevids.tally),
    }


def list_counts(replay: Replay) -> Mapping[Any, int]:
    """How many rows the journal says that a table has."""
    derived = {model: sum(replay.sealed.get(kind, 0) for kind in kinds) for model, kinds in DERIVED}
    orders = replay.units.orders.values()
    replaced = sum(figures.replaced.count for figures in orders)
    derived[DeviceRow] += replay.grants.devices - replaced
    derived[CertificateRow] += len(replay.grants.papers)
    derived[TrustSetRow] += replay.grants.sets
    units = {
        ConfirmationRow: sum(figures.confirmed.count for figures in orders),
        ScrapRow: len(replay.units.scrapped),
        ReplacedDeviceRow: replaced,
    }
    register = {RegisterRow: replay.register.tally.count, RegisterRequestRow: replay.register.requests}
    register[LdevidRow] = replay.ldevids.tally.count
    counts = {RequestRow: replay.requests, DocumentRow: replay.documents, RevocationRow: replay.revoked.count}
    counts[ElementRow] = replay.elements.tally.count
    counts[BoxCertificateRow] = replay.grants.certificates
    return counts | derived | units | register


def check_count(connection: Connection, model: Any, expected: int) -> None:
    """Count the rows of one table, which reads all of it. Raises JournalForked."""
    found = connection.execute(select(func.count()).select_from(table_of(model))).scalar()
    _demand(f"{model.__tablename__}: {found} for {expected}", found == expected)


def _demand(what: str, holds: bool) -> None:
    if not holds:
        raise JournalForked(f"{what}: the rows are not what the journal says", hint=RESTORE)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
