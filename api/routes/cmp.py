"""Certificate Management Protocol over HTTP (RFC 9811, paths of RFC 9483 section 6.1). The keyroom reads and answers.

The label is a CA's. Whom the keyroom does not know is answered with an error message that is not signed; a service that
is away or full answers as HTTP does.
"""

from typing import Final

from fastapi import APIRouter, Request, Response

from api.auth import Asking
from api.bodies import check_media_type, raw_schema, read_body
from api.routes.encodings import NamePath, binary
from ceremonies.client import Refused
from ceremonies.commands import CmpAnswered, TransactCmp
from pki.cmp.failures import FAILURES
from pki.cmp.messages import LIMIT, parse_header
from pki.cmp.replies import write_unsigned_error

PATH: Final = "/.well-known/cmp/p/{label}"
PKIXCMP: Final = "application/pkixcmp"
_SCHEMA: Final = raw_schema(PKIXCMP, description="A signed PKIMessage, DER: ir, cr, p10cr, kur, rr, certConf, genm.")
router = APIRouter(tags=["CMP"])


@router.post(PATH, openapi_extra=_SCHEMA, responses=binary(PKIXCMP, "A PKIMessage in DER."))
async def transact(request: Request, caller: Asking, label: NamePath) -> Response:
    """A message, signed with the key of a station's or a device's certificate; its answer, signed by a responder."""
    check_media_type(request, PKIXCMP)
    message = await read_body(request, LIMIT)
    header = parse_header(message)
    try:
        answered = await caller.ask(TransactCmp(label, message), CmpAnswered)
    except Refused as error:
        problem = error.problem
        if problem.code not in FAILURES:
            raise
        request.scope["problem"] = problem.code
        unsigned = write_unsigned_error(header, FAILURES[problem.code], f"{problem.code}: {problem.message}")
        return Response(unsigned, media_type=PKIXCMP)
    return Response(answered.response, media_type=PKIXCMP)
