"""The routes: one noun per file."""

from typing import Final

from fastapi import APIRouter

from api.routes import (
    artefacts,
    baselines,
    ceremonies,
    certificates,
    confirmations,
    counter_updates,
    crls,
    documents,
    est,
    events,
    fleet,
    grants,
    health,
    journal,
    keys,
    ocsp,
    orders,
    receipts,
    releases,
    revocations,
    stations,
    trust_sets,
    units,
    work_orders,
)

ROUTERS: Final[tuple[APIRouter, ...]] = (
    work_orders.router,
    stations.router,
    est.router,
    confirmations.router,
    units.router,
    orders.router,
    artefacts.router,
    releases.router,
    ceremonies.router,
    trust_sets.router,
    counter_updates.router,
    receipts.router,
    fleet.router,
    baselines.router,
    grants.router,
    keys.router,
    certificates.router,
    revocations.router,
    crls.router,
    ocsp.router,
    documents.router,
    journal.router,
    events.router,
    health.router,
)
