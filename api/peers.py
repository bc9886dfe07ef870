"""Who is on the other end of a connection: its address, and the client certificate that it has shown.

A certificate comes from our own TLS, which has verified it, or from a proxy that did, in the header of RFC 9440. The
header is believed on connections from the addresses of `certificate_proxies` and from nobody else; there, and only
there, the connection's own certificate is the proxy's and says nothing about the client.
"""

import base64
import binascii
import re
from typing import Final

import msgspec
from fastapi import Request

from api.errors import ClientCertificateMalformed

SCOPE: Final = "kedge.peer"
CERTIFICATE_LIMIT: Final = 1 << 14
# RFC 9440 section 2.1: a structured field of type byte sequence (RFC 8941 section 3.3.5).
_HEADER: Final = re.compile(r":([A-Za-z0-9+/]{4,21848}={0,2}):")


class Peer(msgspec.Struct, frozen=True):
    """The address of the connection itself, whatever a header says; the certificate (DER) shown on it, or nothing."""

    address: str = ""
    certificate: bytes = b""


def read_address(request: Request) -> str:
    """The address of a client that has shown a certificate. A proxy that hands on certificates and no addresses
    (X-Forwarded-For, setting `trusted_proxies`) tells nothing: its own says not where a station is.
    """
    peer: Peer = request.scope.get(SCOPE, Peer())
    address = request.client.host[:64] if request.client else ""
    return "" if address == peer.address and address in request.app.state.settings.certificate_proxies else address


def read_certificate(request: Request) -> bytes:
    """The client's certificate (DER), empty when there is none. Raises ClientCertificateMalformed."""
    peer: Peer = request.scope.get(SCOPE, Peer())
    if not peer.address or peer.address not in request.app.state.settings.certificate_proxies:
        return peer.certificate
    values = request.headers.getlist("client-cert")
    if not values:
        return b""
    found = _HEADER.fullmatch(values[0])
    if len(values) > 1 or found is None:
        raise ClientCertificateMalformed(
            "the Client-Cert header is not one byte sequence", hint="have the proxy send it as RFC 9440 says"
        )
    try:
        certificate = base64.b64decode(found[1], validate=True)
    except binascii.Error as error:
        raise ClientCertificateMalformed("the Client-Cert header is no base64") from error
    if len(certificate) > CERTIFICATE_LIMIT:
        raise ClientCertificateMalformed(f"the client certificate is over {CERTIFICATE_LIMIT} bytes")
    return certificate
