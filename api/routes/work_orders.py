"""Device certificates inside a work order."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import Field

from api.auth import Asking
from api.bodies import check_media_type, raw_schema, read_body
from api.routes.encodings import Characters, NamePath, Out, ProvenOut
from ceremonies.commands import DeviceIssued, IssueDevice

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


async def read_request(request: Request, _: Asking) -> bytes:
    """The CSR's bytes: after the token was seen, at most 16 KiB."""
    check_media_type(request, *MEDIA_TYPES)
    return await read_body(request, request.app.state.settings.csr_limit)


@router.put(
    "/v1/work-orders/{work_order}/devices/{serial}",
    openapi_extra=raw_schema(*MEDIA_TYPES, description="PKCS#10: DER as application/pkcs10, PEM as x-pem-file."),
)
async def issue_device(
    caller: Asking, work_order: NamePath, serial: NamePath, csr: Annotated[bytes, Depends(read_request)]
) -> DeviceOut:
    """Issue the certificate of a device. The same request again gives the same bytes and uses no quota."""
    return DeviceOut.model_validate(await caller.ask(IssueDevice(work_order, serial, csr), DeviceIssued))
