"""Sealed documents by digest."""

from fastapi import APIRouter
from pydantic import Field

from api.auth import Asking
from api.routes.encodings import DigestPath, Octets, Out, ProvenOut
from ceremonies.commands import DocumentRead, ReadDocument

router = APIRouter(tags=["documents"])


class SealedOut(Out):
    """A document's exact bytes and where the journal records it."""

    kind: str = Field(examples=["trust-set"])
    name: str
    document: Octets
    proven: ProvenOut


@router.get("/v1/documents/{sha256}")
async def read_document(caller: Asking, sha256: DigestPath) -> SealedOut:
    """A document that a key made, by the SHA-256 of its bytes."""
    return SealedOut.model_validate(await caller.ask(ReadDocument(sha256), DocumentRead))
