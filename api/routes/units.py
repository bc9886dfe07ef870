"""What a supervisor of the plant says of a single unit: rework, scrap."""

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import ConfigDict, Field

from api.auth import Asking
from api.bodies import json_body, json_schema
from api.routes.encodings import In, NamePath, Out
from ceremonies.commands import DeviceScrapped, PermitRework, ReworkPermitted, ScrapDevice

router = APIRouter(tags=["work orders"])


class ReasonIn(In):
    """Why; it goes into the journal."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "controller board replaced"}]})

    reason: Annotated[str, Field(min_length=1, max_length=256)]


class PermitOut(Out):
    """A permit. `index` is its journal entry; `left`: how many more the order has; `replayed`: it was open already."""

    work_order: str
    serial: str
    index: int
    left: int
    replayed: bool


class ScrappedOut(Out):
    """The unit is scrapped and its certificate revoked. `replayed`: it was before."""

    work_order: str
    serial: str
    index: int
    replayed: bool


Reason = Annotated[ReasonIn, Depends(json_body(ReasonIn))]


@router.post(
    "/v1/work-orders/{work_order}/devices/{serial}/rework", status_code=201, openapi_extra=json_schema(ReasonIn)
)
async def permit_rework(caller: Asking, work_order: NamePath, serial: NamePath, body: Reason) -> PermitOut:
    """Let the unit get a certificate for another key, once. Its present certificate is revoked then."""
    return PermitOut.model_validate(await caller.ask(PermitRework(work_order, serial, body.reason), ReworkPermitted))


@router.post("/v1/work-orders/{work_order}/devices/{serial}/scrap", openapi_extra=json_schema(ReasonIn))
async def scrap_device(caller: Asking, work_order: NamePath, serial: NamePath, body: Reason) -> ScrappedOut:
    """Scrap the unit. Its certificate is revoked; what it used of the quota stays used."""
    return ScrappedOut.model_validate(await caller.ask(ScrapDevice(work_order, serial, body.reason), DeviceScrapped))
