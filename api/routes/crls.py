"""Revocation lists: which there are, and the lists themselves from static files, also while the keyroom is down."""

import re
from typing import Final

from fastapi import APIRouter, Request, Response

from api.auth import Asking
from api.errors import NothingThere
from api.routes.encodings import Out, binary
from api.routes.journal import read_public
from ceremonies.commands import ListRevocations, RevocationsListed

router = APIRouter(tags=["revocation lists"])

CRL: Final = "application/pkix-crl"  # RFC 5280 section 4.2.1.13, RFC 2585
_CA: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_PARTITION: Final = re.compile(r"[0-3][0-9a-f]\.crl")
_FRESH: Final = {"Cache-Control": "public, max-age=60"}


class RevocationListOut(Out):
    """The newest list at `path`. `current`: every revocation is in it. Times are seconds since 1970."""

    ca: str
    path: str
    number: int
    entries: int
    this_update: int
    next_update: int
    document: str
    current: bool


class RevocationListsOut(Out):
    """Revocation lists."""

    lists: tuple[RevocationListOut, ...]


@router.get("/v1/crls")
async def list_crls(caller: Asking) -> RevocationListsOut:
    """The newest revocation list of each CA and partition."""
    return RevocationListsOut.model_validate(await caller.ask(ListRevocations(), RevocationsListed))


@router.get("/crl/{file}", responses=binary(CRL, "A CRL in DER."))
def read_crl(request: Request, _: Asking, file: str) -> Response:
    """The complete list of a CA, `<label>.crl`."""
    if not file.endswith(".crl") or _CA.fullmatch(file.removesuffix(".crl")) is None:
        raise NothingThere("no revocation list has this name")
    return Response(read_public(request, file, "crl"), media_type=CRL, headers=_FRESH)


@router.get("/crl/{ca}/{file}", responses=binary(CRL, "A CRL in DER."))
def read_partition(request: Request, _: Asking, ca: str, file: str) -> Response:
    """The list of one partition of a CA, `00.crl` to `3f.crl`."""
    if _CA.fullmatch(ca) is None or _PARTITION.fullmatch(file) is None:
        raise NothingThere("no revocation list has this name")
    return Response(read_public(request, f"{ca}/{file}", "crl"), media_type=CRL, headers=_FRESH)
