"""Who may ask what: the table of roles by route, and the caller's bearer token, or a client certificate.

The API cannot say what either is worth: the keyroom does, with issuers and bindings from the signed policy, and it
compares the caller's role with the command's. This table says the same by route, so that a reader sees it, and a test
compares it with the routes and with the commands. A route that is not in the table answers nobody.
"""

import hashlib
import re
from typing import Annotated, Final, TypeVar

from fastapi import Depends, Request

from api.errors import InternalError, TokenMissing
from api.peers import read_address, read_certificate
from ceremonies.client import KeyroomClient
from ceremonies.commands import PUBLIC, STAFF, AnyCommand

_OFFICER: Final = frozenset({"officer"})
_AUDITOR: Final = frozenset({"auditor"})
_OPERATOR: Final = frozenset({"operator"})
_STATION: Final = frozenset({"station"})
_ENROLLING: Final = frozenset({"station", "device"})
_FIELD: Final = frozenset({"gateway", "operator"})
_ORDER: Final = "/v1/work-orders/{work_order}"
_CEREMONY: Final = "/v1/ceremonies/{ceremony}"
_STEP: Final = _CEREMONY + "/steps/{step}"

ROLES: Final[dict[tuple[str, str], frozenset[str]]] = {
    ("PUT", _ORDER + "/devices/{serial}"): _STATION,
    ("POST", _ORDER + "/devices"): _STATION,
    ("POST", _ORDER + "/devices/{serial}/confirmation"): _STATION,
    ("POST", _ORDER + "/confirmations"): _STATION,
    ("POST", _ORDER + "/devices/{serial}/rework"): _OPERATOR,
    ("POST", _ORDER + "/devices/{serial}/scrap"): _OPERATOR,
    ("POST", _ORDER + "/devices/{serial}/tpm-challenge"): _STATION,
    ("POST", _ORDER + "/devices/{serial}/tpm-activation"): _STATION,
    ("GET", "/v1/elements"): STAFF,
    ("GET", "/v1/elements/manifests/{sha256}"): _OFFICER,
    ("GET", "/v1/work-orders"): STAFF,
    ("GET", _ORDER): STAFF,
    ("GET", _ORDER + "/report"): STAFF,
    ("GET", "/.well-known/est/{label}/cacerts"): PUBLIC,
    ("GET", "/.well-known/est/{label}/csrattrs"): PUBLIC,
    ("POST", "/.well-known/est/{label}/simpleenroll"): _ENROLLING,
    ("POST", "/.well-known/est/{label}/simplereenroll"): _ENROLLING,
    ("POST", "/.well-known/cmp/p/{label}"): PUBLIC,
    ("GET", "/v1/line-boards/{plant}"): STAFF | {"station"},
    ("GET", "/line-boards/{plant}"): STAFF | {"station"},
    ("GET", "/v1/stations"): STAFF,
    ("PUT", "/v1/stations/{station}/certificate"): PUBLIC,
    ("POST", "/v1/stations/{station}/suspension"): _OFFICER,
    ("POST", "/v1/stations/{station}/revocation"): _OFFICER,
    ("PUT", "/v1/artefacts/{sha256}"): frozenset({"pipeline", "officer"}),
    ("POST", "/v1/releases"): frozenset({"pipeline"}),
    ("POST", "/v1/ceremonies"): _OFFICER,
    ("GET", "/v1/ceremonies"): STAFF,
    ("GET", _CEREMONY): STAFF,
    ("POST", _STEP + "/approvals"): _OFFICER,
    ("POST", _STEP + "/rejections"): _OFFICER,
    ("POST", _STEP + "/execution"): _OFFICER,
    ("GET", "/v1/trust-sets"): PUBLIC,
    ("GET", "/v1/trust-sets/latest"): PUBLIC,
    ("GET", "/v1/counter-updates"): PUBLIC,
    ("POST", "/v1/receipts"): _FIELD,
    ("POST", "/v1/receipts/challenges"): _FIELD,
    ("POST", "/v1/fleet/statements"): frozenset({"operator"}),
    ("GET", "/v1/fleet"): STAFF,
    ("GET", "/v1/fleet/imports/{sha256}"): _OFFICER,
    ("GET", "/v1/fleet/labels/{serial}"): STAFF | {"station"},
    ("GET", "/v1/baselines/latest"): STAFF | {"gateway"},
    ("GET", "/v1/grants"): STAFF,
    ("POST", "/v1/boxes/{box}/settlements"): _OFFICER,
    ("POST", "/v1/boxes/strays"): STAFF,
    ("GET", "/v1/keys"): STAFF,
    ("POST", "/v1/keys/{label}/suspension"): _OFFICER,
    ("GET", "/v1/certificates"): PUBLIC,
    ("GET", "/v1/certificates/status"): STAFF,
    ("POST", "/v1/revocations"): _OFFICER,
    ("POST", "/v1/revocations/preview"): _OFFICER,
    ("GET", "/v1/crls"): PUBLIC,
    ("GET", "/crl/{file}"): PUBLIC,
    ("GET", "/crl/{ca}/{file}"): PUBLIC,
    ("POST", "/ocsp"): PUBLIC,
    ("GET", "/ocsp/{question:path}"): PUBLIC,
    ("GET", "/v1/documents/{sha256}"): STAFF | {"pipeline", "station", "gateway"},
    ("GET", "/v1/journal/proofs/{sha256}"): PUBLIC,
    ("GET", "/v1/events"): _AUDITOR,
    ("GET", "/v1/journal/export"): _AUDITOR,
    ("GET", "/v1/journal/party"): _AUDITOR,
    ("GET", "/v1/journal/summary"): _AUDITOR,
    ("GET", "/journal/checkpoint"): PUBLIC,
    ("GET", "/journal/tile/entries/{index:path}"): _AUDITOR,
    ("GET", "/journal/tile/{level}/{index:path}"): PUBLIC,
    ("GET", "/healthz"): PUBLIC,
    ("GET", "/readyz"): PUBLIC,
    ("GET", "/metrics"): PUBLIC,
}
TOKEN_LIMIT: Final = 8192
_BEARER: Final = re.compile(r"bearer ([A-Za-z0-9._~+/=-]{1,8192})", re.IGNORECASE)  # RFC 6750 section 2.1

Result = TypeVar("Result")


class Caller:
    """One request's way to the keyroom: its client, the caller's token or certificate, the address it came from."""

    def __init__(self, client: KeyroomClient, token: str, certificate: bytes, source: str) -> None:
        self._client = client
        self._token = token
        self._certificate = certificate
        self._source = source

    @property
    def credential(self) -> bytes:
        """A digest of the token or the certificate: the same for whoever shows the same."""
        return hashlib.sha256(self._token.encode() + b"\0" + self._certificate).digest()

    async def ask(self, command: AnyCommand, expected: type[Result]) -> Result:
        """The keyroom's answer. Raises Refused or KeyroomDown; InternalError when it is of another kind."""
        result = await self._client.ask(command, token=self._token, source=self._source, certificate=self._certificate)
        if not isinstance(result, expected):
            raise InternalError(f"the keyroom answered {type(result).__name__}")
        return result


def read_token(request: Request) -> str:
    """The bearer token. Raises TokenMissing unless there is exactly one well-formed Authorization header."""
    values = request.headers.getlist("authorization")
    if not values:
        raise TokenMissing("the request has no Authorization header", hint="send `Authorization: Bearer TOKEN`")
    if len(values) > 1:
        raise TokenMissing("the request has more than one Authorization header", hint="send one")
    found = _BEARER.fullmatch(values[0])
    if found is None:
        raise TokenMissing(
            "the Authorization header is no bearer token", hint=f"send a JWT of at most {TOKEN_LIMIT} characters"
        )
    return found[1]


async def authorise(request: Request) -> Caller:  # async: else each request costs a change of threads
    """The dependency of every route: its row in ROLES says whether a token is needed. No row, no answer."""
    path = request.scope["route"].path
    roles = ROLES.get((request.method, path))
    if not roles:
        raise InternalError("the route has no roles")
    request.scope["route_path"] = path
    if roles == PUBLIC:  # whoever signs a message of CMP is told apart by where it is, too
        return Caller(request.app.state.keyroom, "", b"", read_address(request))
    source = request.client.host[:64] if request.client else ""
    certificate = read_certificate(request)
    if certificate and roles & _ENROLLING and "authorization" not in request.headers:
        return Caller(request.app.state.keyroom, "", certificate, read_address(request))
    return Caller(request.app.state.keyroom, read_token(request), certificate, source)


Asking = Annotated[Caller, Depends(authorise)]
