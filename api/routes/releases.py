"""Signed releases."""

from typing import Annotated

from fastapi import APIRouter, Depends, Header
from pydantic import ConfigDict, Field

from api.auth import Asking
from api.bodies import json_body, json_schema
from api.routes.encodings import REQUEST_ID, Hex32, In, Name, Octets, Out, ProvenOut
from ceremonies.commands import ReleaseSigned, SignRelease

router = APIRouter(tags=["releases"])
IdempotencyKey = Annotated[
    str, Header(min_length=8, max_length=80, pattern=REQUEST_ID, description="The same key and body: the same answer.")
]


class ReleaseIn(In):
    """A release to sign. The artefact was uploaded before; version and counter must be those in the image."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "class_name": "bms-stm32h7",
                    "channel": "stable",
                    "version": "2.3.0",
                    "security_version": 7,
                    "artefact": "9f" * 32,
                }
            ]
        }
    )

    class_name: Name
    channel: Name
    version: Name
    security_version: Annotated[int, Field(ge=0, lt=1 << 32, strict=True)]
    artefact: Hex32
    provenance: Hex32 | None = None
    sbom: Hex32 | None = None


class ReleaseOut(Out):
    """The signed image and its COSE firmware manifest, each with its place in the journal."""

    id: str
    version: str
    image: Octets
    image_proven: ProvenOut
    manifest: Octets
    manifest_proven: ProvenOut
    replayed: bool


@router.post("/v1/releases", status_code=201, openapi_extra=json_schema(ReleaseIn))
async def sign_release(
    caller: Asking, idempotency_key: IdempotencyKey, body: Annotated[ReleaseIn, Depends(json_body(ReleaseIn))]
) -> ReleaseOut:
    """Sign an uploaded MCUboot image and its firmware manifest."""
    command = SignRelease(id=idempotency_key, **body.model_dump())
    return ReleaseOut.model_validate(await caller.ask(command, ReleaseSigned))
