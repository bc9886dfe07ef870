"""The routes: one noun per file."""

from typing import Final

from fastapi import APIRouter

from api.routes import (
    artefacts,
    ceremonies,
    certificates,
    counter_updates,
    documents,
    est,
    events,
    health,
    journal,
    keys,
    receipts,
    releases,
    stations,
    trust_sets,
    work_orders,
)

ROUTERS: Final[tuple[APIRouter, ...]] = (
    work_orders.router,
    stations.router,
    est.router,
    artefacts.router,
    releases.router,
    ceremonies.router,
    trust_sets.router,
    counter_updates.router,
    receipts.router,
    keys.router,
    certificates.router,
    documents.router,
    journal.router,
    events.router,
    health.router,
)
