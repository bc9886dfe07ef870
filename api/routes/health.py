"""Whether the service is up, whether it can use keys, and its numbers."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from api.auth import Asking
from api.errors import RETRY_AFTER
from api.routes.encodings import Out, binary
from ceremonies.client import KeyroomDown, Refused
from ceremonies.commands import HealthShown, ShowHealth

router = APIRouter(tags=["health"])
_TEXT = "text/plain; version=0.0.4; charset=utf-8"


class LivenessOut(Out):
    """The process answers."""

    status: str = Field(examples=["up"])


class ReadinessOut(Out):
    """Whether keys can be used, and every alarm that stands: why not, or what is late. `vkey` is the journal's C2SP
    verifier key.
    """

    ready: bool
    problems: tuple[str, ...]
    origin: str = Field(examples=["kedge.example/journal"])
    vkey: str
    size: int
    software_sha256: str


@router.get("/healthz")
async def show_liveness(_: Asking) -> LivenessOut:
    """This process answers. It says nothing about the keyroom."""
    return LivenessOut(status="up")


@router.get("/readyz", responses={503: {"description": "Keys cannot be used.", "model": ReadinessOut}})
async def show_readiness(caller: Asking) -> Response:
    """Whether the keyroom can use keys."""
    readiness = ReadinessOut.model_validate(await caller.ask(ShowHealth(), HealthShown))
    if readiness.ready:
        return JSONResponse(readiness.model_dump(mode="json"))
    return JSONResponse(readiness.model_dump(mode="json"), 503, {"Retry-After": RETRY_AFTER})


@router.get("/metrics", responses=binary(_TEXT, "Prometheus text."))
async def show_metrics(request: Request, caller: Asking) -> Response:
    """Counters of this process and of the keyroom, also when the keyroom is down."""
    try:
        health = await caller.ask(ShowHealth(), HealthShown)
    except (KeyroomDown, Refused):
        return Response(request.app.state.metrics.render(None, ready=False), media_type=_TEXT)
    return Response(request.app.state.metrics.render(health.metrics, ready=health.ready), media_type=_TEXT)
