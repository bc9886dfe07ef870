"""Confirmations: units show that they hold their certificate and their key."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request, Response
from pydantic import ConfigDict, Field, JsonValue

from api.auth import Asking
from api.bodies import json_body, json_schema
from api.errors import ProblemOut, describe_problem
from api.routes.encodings import Hex32, In, Name, NamePath, Octets, Out, write_out
from ceremonies.commands import (
    BATCH_LIMIT,
    Confirmation,
    ConfirmDevice,
    ConfirmDevices,
    DeviceConfirmed,
    DevicesConfirmed,
)

router = APIRouter(tags=["work orders"])
EXAMPLE: Final[dict[str, JsonValue]] = {"chain_sha256": "9f" * 32, "signature": "MEUCIQ..."}


class ConfirmationIn(In):
    """What was read back from the unit, and the unit's word for it."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    chain_sha256: Hex32 = Field(description="SHA-256 of certificate and chain (PEM), as read back.")
    signature: Annotated[
        Octets,
        Field(
            min_length=8, max_length=80,
            description="ES256 (r and s, or DER) by the unit's key over `kedge-confirm-v1`, a zero byte, the nonce of "
            "its certificate and the 32 bytes of chain_sha256.",
        ),
    ]  # fmt: skip


class UnitConfirmationIn(ConfirmationIn):
    """One unit of a batch."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"serial": "BMS-0000417", **EXAMPLE}]})

    serial: Name


class ConfirmationsIn(In):
    """A batch. What is malformed is refused as a whole, and nothing is done."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"confirmations": [{"serial": "BMS-0000417", **EXAMPLE}]}]}
    )

    confirmations: Annotated[tuple[UnitConfirmationIn, ...], Field(min_length=1, max_length=BATCH_LIMIT)]


class ConfirmedOut(Out):
    """The unit counts as built. `index` is the journal entry; `replayed`: it did before."""

    serial: str
    index: int
    replayed: bool


class ConfirmationsOut(Out):
    """Per unit, in order: what the single request would have answered, or a problem (it has a `code`)."""

    results: tuple[ConfirmedOut | ProblemOut, ...]


@router.post("/v1/work-orders/{work_order}/devices/{serial}/confirmation", openapi_extra=json_schema(ConfirmationIn))
async def confirm_device(
    caller: Asking,
    work_order: NamePath,
    serial: NamePath,
    body: Annotated[ConfirmationIn, Depends(json_body(ConfirmationIn))],
) -> ConfirmedOut:
    """Confirm a unit. The same confirmation again gets the same answer."""
    command = ConfirmDevice(work_order, serial, body.chain_sha256, body.signature)
    return ConfirmedOut.model_validate(await caller.ask(command, DeviceConfirmed))


@router.post(
    "/v1/work-orders/{work_order}/confirmations",
    response_model=ConfirmationsOut,
    openapi_extra=json_schema(ConfirmationsIn),
)
async def confirm_devices(
    request: Request,
    caller: Asking,
    work_order: NamePath,
    body: Annotated[ConfirmationsIn, Depends(json_body(ConfirmationsIn))],
) -> Response:
    """Confirm up to 1,000 units of one order, each judged alone."""
    items = tuple(Confirmation(item.serial, item.chain_sha256, item.signature) for item in body.confirmations)
    answered = await caller.ask(ConfirmDevices(work_order, items), DevicesConfirmed)
    results = (
        ConfirmedOut.model_validate(answer)
        if isinstance(answer, DeviceConfirmed)
        else describe_problem(request.scope, f"{request.url.path}/{item.serial}", answer)
        for item, answer in zip(items, answered.answers, strict=True)
    )
    return write_out(ConfirmationsOut(results=tuple(results)))
