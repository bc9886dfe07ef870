"""Device certificates inside a work order."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from pydantic import ConfigDict, Field

from api.auth import Asking
from api.bodies import check_media_type, json_body, json_schema, raw_schema, read_body
from api.errors import BodyTooLarge, ProblemOut, describe_problem
from api.routes.encodings import Characters, In, Name, NamePath, Octets, Out, ProvenOut, write_out
from ceremonies.commands import BATCH_LIMIT, DeviceIssued, DeviceRequest, DevicesIssued, IssueDevice, IssueDevices

MEDIA_TYPES = ("application/pkcs10", "application/x-pem-file")  # DER (RFC 5967), and PEM
router = APIRouter(tags=["work orders"])


class DeviceOut(Out):
    """A device certificate. `replayed`: this answer was given before. PEM everywhere; digests are SHA-256 in hex."""

    serial: str = Field(examples=["BMS-0000417"])
    certificate: Characters = Field(examples=["-----BEGIN CERTIFICATE-----\n..."])
    chain: Characters = Field(description="Device CA, then identity root.")
    ueid: str = Field(description="EAT UEID, hex.")
    replayed: bool
    proven: ProvenOut
    trust_set: str | None = Field(description="Payload digest of the newest trust set.")
    birth_package: str | None = Field(description="Digest of the birth package; fetch it from /v1/documents.")
    nonce: str = Field(description="What the unit signs when it is confirmed, hex.")
    lfdi: str = Field(description="IEEE 2030.5 LFDI, 40 hex digits; empty unless the profile is ieee2030-5-device.")
    sfdi: str = Field(description="IEEE 2030.5 SFDI, 12 decimal digits, or empty as the LFDI.")


class DeviceRequestIn(In):
    """One device: its serial, and its CSR (PKCS#10, DER or PEM) in base64."""

    serial: Name = Field(examples=["BMS-0000417"])
    csr: Annotated[Octets, Field(min_length=1, max_length=1 << 17)]


class DevicesIn(In):
    """A batch. What is malformed is refused as a whole, and nothing is done."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"requests": [{"serial": "BMS-0000417", "csr": "MIHyMIGZ..."}]}]}
    )

    requests: Annotated[tuple[DeviceRequestIn, ...], Field(min_length=1, max_length=BATCH_LIMIT)]


class DevicesOut(Out):
    """Per request, in order: what the single request would have answered, a device or a problem (it has a `code`)."""

    results: tuple[DeviceOut | ProblemOut, ...]


async def read_request(request: Request, _: Asking) -> bytes:
    """The CSR's bytes: after the token was seen, at most 16 KiB."""
    check_media_type(request, *MEDIA_TYPES)
    return await read_body(request, request.app.state.settings.csr_limit)


@router.put(
    "/v1/work-orders/{work_order}/devices/{serial}",
    response_model=DeviceOut,
    openapi_extra=raw_schema(*MEDIA_TYPES, description="PKCS#10: DER as application/pkcs10, PEM as x-pem-file."),
)
async def issue_device(
    caller: Asking, work_order: NamePath, serial: NamePath, csr: Annotated[bytes, Depends(read_request)]
) -> Response:
    """Issue the certificate of a device. The same request again gives the same bytes and uses no quota."""
    return write_out(DeviceOut.model_validate(await caller.ask(IssueDevice(work_order, serial, csr), DeviceIssued)))


@router.post("/v1/work-orders/{work_order}/devices", response_model=DevicesOut, openapi_extra=json_schema(DevicesIn))
async def issue_devices(
    request: Request, caller: Asking, work_order: NamePath, body: Annotated[DevicesIn, Depends(json_body(DevicesIn))]
) -> Response:
    """Issue up to 1,000 certificates of one order. Each is as one of its own: no refusal touches another, and the same
    request again gives the same bytes.
    """
    limit = request.app.state.settings.csr_limit
    if large := [item.serial for item in body.requests if len(item.csr) > limit]:
        raise BodyTooLarge(f"the request of {large[0]} is over {limit} bytes")
    items = tuple(DeviceRequest(item.serial, item.csr) for item in body.requests)
    issued = await caller.ask(IssueDevices(work_order, items), DevicesIssued)
    results = (
        DeviceOut.model_validate(answer)
        if isinstance(answer, DeviceIssued)
        else describe_problem(request.scope, f"{request.url.path}/{item.serial}", answer)
        for item, answer in zip(items, issued.answers, strict=True)
    )
    return write_out(DevicesOut(results=tuple(results)))
