"""The routes: one noun per file."""

from typing import Final

from fastapi import APIRouter

from api.routes import (
    artefacts,
    baselines,
    ceremonies,
    certificates,
    counter_updates,
    documents,
    events,
    fleet,
    health,
    journal,
    keys,
    receipts,
    releases,
    trust_sets,
    work_orders,
)

ROUTERS: Final[tuple[APIRouter, ...]] = (
    work_orders.router,
    artefacts.router,
    releases.router,
    ceremonies.router,
    trust_sets.router,
    counter_updates.router,
    receipts.router,
    fleet.router,
    baselines.router,
    keys.router,
    certificates.router,
    documents.router,
    journal.router,
    events.router,
    health.router,
)
