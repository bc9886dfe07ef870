"""Online certificate status (OCSP over HTTP, RFC 6960 appendix A). The keyroom reads the request, signs the answer."""

import base64
import binascii
from typing import Final

from fastapi import APIRouter, Request, Response

from api.auth import Asking, Caller
from api.bodies import check_media_type, raw_schema, read_body
from api.routes.encodings import binary
from ceremonies.commands import AskStatus, StatusAnswered
from pki.x509.ocsp import LIMIT, MALFORMED, write_error

router = APIRouter(tags=["certificate status"])

QUESTION: Final = "application/ocsp-request"
ANSWER: Final = "application/ocsp-response"
_SCHEMA: Final = raw_schema(QUESTION, description="An OCSP request about one certificate, DER.")


@router.post("/ocsp", openapi_extra=_SCHEMA, responses=binary(ANSWER, "An OCSP response in DER."))
async def post_status(request: Request, caller: Asking) -> Response:
    """Whether a certificate is good, revoked, or unknown."""
    check_media_type(request, QUESTION)
    return await _answer(caller, await read_body(request, LIMIT))


@router.get("/ocsp/{question:path}", responses=binary(ANSWER, "An OCSP response in DER."))
async def get_status(caller: Asking, question: str) -> Response:
    """The same with the request as base64 (RFC 4648 section 4), percent-encoded, in the path."""
    try:
        if len(question) > 2 * LIMIT:
            raise binascii.Error
        data = base64.b64decode(question.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        return Response(write_error(MALFORMED), media_type=ANSWER)
    return await _answer(caller, data)


async def _answer(caller: Caller, data: bytes) -> Response:
    if not 0 < len(data) <= LIMIT:
        return Response(write_error(MALFORMED), media_type=ANSWER)
    answered = await caller.ask(AskStatus(data), StatusAnswered)
    kept = f"public, max-age={answered.seconds}, no-transform, must-revalidate"  # RFC 5019 section 6.2
    headers = {"Cache-Control": kept} if answered.seconds else None
    return Response(answered.response, media_type=ANSWER, headers=headers)
