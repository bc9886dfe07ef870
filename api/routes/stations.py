"""Provisioning stations: their client certificates, and stopping them."""

from typing import Annotated

from fastapi import APIRouter, Depends, Response
from pydantic import Field

from api.auth import Asking
from api.bodies import json_body, json_schema, raw_schema
from api.routes.encodings import Characters, NamePath, Out, ProvenOut, write_out
from api.routes.keys import SuspensionIn
from api.routes.work_orders import MEDIA_TYPES, read_request
from ceremonies.commands import (
    IssueStation,
    ListStations,
    RevokeStation,
    StationIssued,
    StationsListed,
    SuspendStation,
)

router = APIRouter(tags=["stations"])


class StationCertificateOut(Out):
    """A station's TLS client certificate, PEM. `replayed`: it was given before and is not near its end."""

    station: str = Field(examples=["graz-line-3-a"])
    certificate: Characters = Field(examples=["-----BEGIN CERTIFICATE-----\n..."])
    chain: Characters = Field(description="Service CA, then identity root.")
    replayed: bool
    proven: ProvenOut


class StationOut(Out):
    """A station. `key`: SHA-256 of its SubjectPublicKeyInfo, hex. One that comes with tokens has a pseudonym only."""

    station: str = Field(examples=["graz-line-3-a"])
    state: str = Field(examples=["enrolled"])
    plant: str
    lines: tuple[str, ...]
    classes: tuple[str, ...]
    addresses: tuple[str, ...]
    key: str
    not_after: str = Field(description="End of its newest certificate, RFC 3339; empty before it has one.")


class StationsOut(Out):
    """Stations."""

    stations: tuple[StationOut, ...]


@router.get("/v1/stations")
async def list_stations(caller: Asking) -> StationsOut:
    """Every station and its state."""
    return StationsOut.model_validate(await caller.ask(ListStations(), StationsListed))


@router.put(
    "/v1/stations/{station}/certificate",
    response_model=StationCertificateOut,
    openapi_extra=raw_schema(*MEDIA_TYPES, description="PKCS#10 by the enrolled key: DER or PEM."),
)
async def issue_station(caller: Asking, station: NamePath, csr: Annotated[bytes, Depends(read_request)]) -> Response:
    """The certificate of an enrolled station: a new one when less than a third of the last one's life is left."""
    return write_out(StationCertificateOut.model_validate(await caller.ask(IssueStation(station, csr), StationIssued)))


@router.post("/v1/stations/{station}/suspension", status_code=201, openapi_extra=json_schema(SuspensionIn))
async def suspend_station(
    caller: Asking, station: NamePath, body: Annotated[SuspensionIn, Depends(json_body(SuspensionIn))]
) -> StationsOut:
    """Stop a station from the next request on. A ceremony (station-resume) lets it work again."""
    return StationsOut.model_validate(await caller.ask(SuspendStation(station, body.reason), StationsListed))


@router.post("/v1/stations/{station}/revocation", status_code=201, openapi_extra=json_schema(SuspensionIn))
async def revoke_station(
    caller: Asking, station: NamePath, body: Annotated[SuspensionIn, Depends(json_body(SuspensionIn))]
) -> StationsOut:
    """Stop a station for good: its certificates count no more, its name is not used again."""
    return StationsOut.model_validate(await caller.ask(RevokeStation(station, body.reason), StationsListed))
