"""Signed counter updates."""

from fastapi import APIRouter

from api.auth import Asking
from api.routes.trust_sets import DocumentsOut, show_documents
from ceremonies.commands import DocumentsListed, ListCounterUpdates

router = APIRouter(tags=["counter updates"])


@router.get("/v1/counter-updates")
async def list_counter_updates(caller: Asking) -> DocumentsOut:
    """All counter updates, oldest first."""
    return show_documents(await caller.ask(ListCounterUpdates(), DocumentsListed))
