"""The chain of trust sets that devices walk."""

from typing import Annotated

from fastapi import APIRouter, Header, Query, Response
from pydantic import Field

from api.auth import Asking
from api.errors import NothingThere
from api.routes.encodings import Octets, Out
from ceremonies.commands import DocumentsListed, ListTrustSets

COSE = "application/cose"  # RFC 9052 section 16.10
router = APIRouter(tags=["trust sets"])


class DocumentOut(Out):
    """A signed document: its name, the SHA-256 of its bytes, the bytes."""

    name: str = Field(examples=["set-0-1"])
    digest: str
    document: Octets


class DocumentsOut(Out):
    """Signed documents, oldest first."""

    documents: tuple[DocumentOut, ...]


def show_documents(listed: DocumentsListed) -> DocumentsOut:
    """Name the parts of the keyroom's rows."""
    return DocumentsOut(
        documents=tuple(
            DocumentOut(name=name, digest=digest, document=document) for name, digest, document in listed.documents
        )
    )


@router.get("/v1/trust-sets/latest", responses={200: {"content": {COSE: {}}}}, response_model=DocumentOut)
async def show_latest_trust_set(caller: Asking, accept: Annotated[str, Header()] = "") -> DocumentOut | Response:
    """The newest trust set, as JSON, or its exact bytes when Accept names application/cose."""
    chain = show_documents(await caller.ask(ListTrustSets(), DocumentsListed)).documents
    if not chain:
        raise NothingThere("there is no trust set yet", hint="the genesis ceremony makes the first one")
    headers = {"Vary": "Accept", "Cache-Control": "no-cache"}
    if any(part.partition(";")[0].strip() == COSE for part in accept.split(",")):
        return Response(chain[-1].document, media_type=COSE, headers=headers)
    return Response(chain[-1].model_dump_json(), media_type="application/json", headers=headers)


@router.get("/v1/trust-sets")
async def list_trust_sets(
    caller: Asking, start: Annotated[int, Query(ge=0, lt=1 << 53, description="Order index of the first set.")] = 0
) -> DocumentsOut:
    """The chain from an order index on, oldest first: what a device that slept needs to catch up."""
    return show_documents(await caller.ask(ListTrustSets(start), DocumentsListed))
