"""Certificates: what is known of one, one revoked at once, and what a ceremony `revoke` would do."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import ConfigDict, Field

from api.auth import Asking
from api.bodies import json_body, json_schema
from api.routes.encodings import In, Octets, Out
from ceremonies.commands import (
    CertificateShown,
    PreviewRevocation,
    RevocationPreviewed,
    RevokeCertificate,
    ShowCertificate,
)

SERIAL = "^([A-Z0-9][A-Z0-9.-]{0,63})?$"
NUMBER = "^([0-9a-f]{1,40})?$"

router = APIRouter(tags=["certificates"])


class RevocationIn(In):
    """One certificate by its device's serial or by its number in hex, and why. `dry_run` only tells."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"serial": "BMS-000417", "reason": "keyCompromise", "why": "stolen"}]}
    )

    serial: Annotated[str, Field(pattern=SERIAL)] = ""
    number: Annotated[str, Field(pattern=NUMBER)] = ""
    reason: Annotated[str, Field(pattern="^[A-Za-z]{1,32}$", description="RFC 5280 section 5.3.1.")]
    why: Annotated[str, Field(min_length=1, max_length=256)]
    dry_run: bool = False


class PreviewIn(In):
    """The plan of a ceremony `revoke`: JSON in base64."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"plan": "eyJrZXkiOiJkZXZpY2UtY2EifQ=="}]})

    plan: Annotated[Octets, Field(max_length=1 << 20)]


class CertificateStatusOut(Out):
    """A certificate that was issued. `document` is its digest; times are microseconds since 1970."""

    number: str = Field(examples=["5a3f..."])
    ca: str = Field(examples=["device-ca"])
    kind: str = Field(examples=["idevid"])
    serial: str
    subject: str
    document: str
    index: int
    status: str = Field(examples=["revoked"])
    reason: str
    revoked_us: int
    revoked_index: int


class PreviewOut(Out):
    """What the plan selects. `revoked` of them are revoked already; `sha256` is over the list; `first` begins it."""

    count: int
    revoked: int
    sha256: str
    first: tuple[str, ...]


@router.post("/v1/revocations", status_code=201, openapi_extra=json_schema(RevocationIn))
async def revoke_certificate(
    caller: Asking, body: Annotated[RevocationIn, Depends(json_body(RevocationIn))]
) -> CertificateStatusOut:
    """Revoke one certificate at once and for ever. One officer suffices; many, or a CA's, take a ceremony."""
    command = RevokeCertificate(body.serial, body.number, body.reason, body.why, body.dry_run)
    return CertificateStatusOut.model_validate(await caller.ask(command, CertificateShown))


@router.post("/v1/revocations/preview", openapi_extra=json_schema(PreviewIn))
async def preview_revocation(caller: Asking, body: Annotated[PreviewIn, Depends(json_body(PreviewIn))]) -> PreviewOut:
    """What a ceremony with this plan would revoke now. Nothing is opened; the asking is an entry."""
    return PreviewOut.model_validate(await caller.ask(PreviewRevocation(body.plan), RevocationPreviewed))


@router.get("/v1/certificates/status")
async def show_certificate(
    caller: Asking,
    serial: Annotated[str, Query(pattern=SERIAL)] = "",
    number: Annotated[str, Query(pattern=NUMBER)] = "",
) -> CertificateStatusOut:
    """What is known of a certificate by its device's serial or by its number in hex."""
    return CertificateStatusOut.model_validate(await caller.ask(ShowCertificate(serial, number), CertificateShown))
