"""Receipts that devices sign, and the challenges that make them fresh."""

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import ConfigDict, Field

from api.auth import Asking
from api.bodies import json_body, json_schema
from api.routes.documents import SealedOut
from api.routes.encodings import In, Octets, Out
from api.routes.releases import IdempotencyKey
from ceremonies.commands import DocumentRead, OpenChallenge, ReceiptsTaken, SubmitReceipts

router = APIRouter(tags=["receipts"])


class ReceiptsIn(In):
    """Receipts (COSE_Sign1) in base64."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"receipts": ["0oRDoQEm..."]}]})

    receipts: Annotated[tuple[Annotated[Octets, Field(max_length=1 << 14)], ...], Field(min_length=1, max_length=1000)]


class ReceiptsOut(Out):
    """Per receipt, in order: an empty text when it was accepted, else the rule that refused it."""

    verdicts: tuple[str, ...] = Field(examples=[["", "nonce-unknown"]])
    index: int = Field(description="The batch's journal entry.")


class ChallengeIn(In):
    """A campaign's 16 bytes, in base64."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"campaign": "AAECAwQFBgcICQoLDA0ODw=="}]})

    campaign: Annotated[Octets, Field(min_length=16, max_length=16)]


@router.post("/v1/receipts", openapi_extra=json_schema(ReceiptsIn))
async def submit_receipts(caller: Asking, body: Annotated[ReceiptsIn, Depends(json_body(ReceiptsIn))]) -> ReceiptsOut:
    """Hand in receipts. Each is judged alone; the batch is one journal entry."""
    return ReceiptsOut.model_validate(await caller.ask(SubmitReceipts(body.receipts), ReceiptsTaken))


@router.post("/v1/receipts/challenges", status_code=201, openapi_extra=json_schema(ChallengeIn))
async def open_challenge(
    caller: Asking, idempotency_key: IdempotencyKey, body: Annotated[ChallengeIn, Depends(json_body(ChallengeIn))]
) -> SealedOut:
    """A fresh challenge, signed by the director key."""
    return SealedOut.model_validate(await caller.ask(OpenChallenge(idempotency_key, body.campaign), DocumentRead))
