"""Unsigned artefacts on their way to the keyroom."""

from fastapi import APIRouter, Request
from pydantic import Field

from api.auth import Asking
from api.bodies import OCTETS, check_media_type, raw_schema, read_chunks
from api.errors import BodyMissing
from api.routes.encodings import DigestPath, Out
from ceremonies.commands import ARTEFACT_LIMIT, CHUNK_SIZE, Upload, Uploaded

router = APIRouter(tags=["artefacts"])


class ArtefactOut(Out):
    """An artefact that the keyroom has received and hashed."""

    digest: str = Field(examples=["9f" * 32])
    size: int = Field(examples=[262144])
    complete: bool


@router.put("/v1/artefacts/{sha256}", openapi_extra=raw_schema(OCTETS, description="The artefact, at most 16 MiB."))
async def put_artefact(caller: Asking, sha256: DigestPath, request: Request) -> ArtefactOut:
    """Upload an artefact under its SHA-256. It is passed on in chunks of 1 MiB, and cut at 16 MiB."""
    check_media_type(request, OCTETS)
    answer: Uploaded | None = None
    async for offset, data, final in read_chunks(request, CHUNK_SIZE, ARTEFACT_LIMIT):
        answer = await caller.ask(Upload(sha256, offset, data, final), Uploaded)
    if answer is None:
        raise BodyMissing("the request has no body")
    return ArtefactOut.model_validate(answer)
