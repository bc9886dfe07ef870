"""The versions that were tested together."""

from fastapi import APIRouter, Response

from api.auth import Asking
from api.routes.documents import SealedOut
from api.routes.encodings import write_out
from ceremonies.commands import DocumentRead, ReadBaseline

router = APIRouter(tags=["fleet"])


@router.get("/v1/baselines/latest", response_model=SealedOut)
async def show_latest_baseline(caller: Asking) -> Response:
    """The newest baseline, with its journal entry and proof. Not public: it says what is old in a fleet."""
    return write_out(SealedOut.model_validate(await caller.ask(ReadBaseline(), DocumentRead)))
