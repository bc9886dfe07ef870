"""Enrolment over Secure Transport (RFC 7030, with RFC 8951): cacerts, csrattrs, simpleenroll, simplereenroll.

The label is a CA's. A request is PKCS #10 in base64; its subject's serialNumber says which device it is for, the rest
of the subject is not read. The answer is the certificate alone (certs-only, RFC 5652), as clients of EST expect it; who
wants journal entry and proof asks /v1/journal/proofs with the SHA-256 of the certificate's PEM.
"""

import base64
import binascii
import re
from collections.abc import Sequence
from typing import Annotated, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from cryptography.x509.oid import NameOID
from fastapi import APIRouter, Depends, Request, Response

from api.auth import Asking, Caller
from api.bodies import check_media_type, raw_schema, read_body
from api.errors import NothingThere, RequestUnreadable
from api.routes.encodings import NAME, NamePath, binary
from ceremonies.commands import DeviceIssued, DocumentsListed, EnrolDevice, ListCertificates
from pki.x509.attributes import write_attributes
from pki.x509.links import is_same_authority
from pki.x509.profiles import IDEVID

PATH: Final = "/.well-known/est/{label}"
PKCS10: Final = "application/pkcs10"
CERTIFICATES: Final = "application/pkcs7-mime; smime-type=certs-only"
ATTRIBUTES: Final = "application/csrattrs"
router = APIRouter(tags=["EST"])


@router.get(PATH + "/cacerts", responses=binary(CERTIFICATES, "CA certificates, base64."), response_class=Response)
async def show_authorities(caller: Asking, label: NamePath) -> Response:
    """The CA of this label in all its generations, and what they lead to: identity roots and the link certificates
    between them (RFC 7030 section 4.1.3).
    """
    return answer(await find_chain(caller, label))


@router.get(PATH + "/csrattrs", responses=binary(ATTRIBUTES, "CsrAttrs, base64."), response_class=Response)
async def show_attributes(caller: Asking, label: NamePath) -> Response:
    """What a request should say: a key on P-256, signed with SHA-256 (RFC 7030 section 4.5)."""
    await find_chain(caller, label)
    return Response(base64.encodebytes(write_attributes(IDEVID)), media_type=ATTRIBUTES)


async def read_request(request: Request, _: Asking) -> bytes:
    """The request in DER (RFC 8951 section 3.1: base64, whatever Content-Transfer-Encoding says). Raises ApiError."""
    check_media_type(request, PKCS10)
    limit: int = request.app.state.settings.csr_limit
    text = await read_body(request, 2 * limit)
    try:
        return base64.b64decode(text.translate(None, b" \t\r\n"), validate=True)
    except binascii.Error as error:
        raise RequestUnreadable("the request is not base64", hint="send PKCS #10, DER, in base64 (RFC 8951)") from error


def find_serial(der: bytes) -> str:
    """The device that a request is for. Raises RequestUnreadable."""
    try:
        subject = x509.load_der_x509_csr(der).subject
        found = [str(item.value) for item in subject.get_attributes_for_oid(NameOID.SERIAL_NUMBER)]
    except (ValueError, x509.InvalidVersion) as error:
        raise RequestUnreadable(f"not a certification request: {error}", hint="send PKCS #10") from error
    if len(found) != 1 or len(found[0]) > 64 or re.fullmatch(NAME, found[0]) is None:
        raise RequestUnreadable(
            "the request's subject has no serialNumber that names a device", hint="put the serial there (2.5.4.5)"
        )
    return found[0]


@router.post(
    PATH + "/simpleenroll",
    responses=binary(CERTIFICATES, "The certificate, base64."),
    response_class=Response,
    openapi_extra=raw_schema(PKCS10, description="PKCS#10, DER, base64."),
)
async def enrol(caller: Asking, label: NamePath, csr: Annotated[bytes, Depends(read_request)]) -> Response:
    """A device certificate under the one open work order that names the serial (RFC 7030 section 4.2)."""
    issued = await caller.ask(EnrolDevice(label, find_serial(csr), csr), DeviceIssued)
    return answer([x509.load_pem_x509_certificate(issued.certificate)])


@router.post(
    PATH + "/simplereenroll",
    responses=binary(CERTIFICATES, "The certificate, base64."),
    response_class=Response,
    openapi_extra=raw_schema(PKCS10, description="PKCS#10, DER, base64."),
)
async def enrol_again(caller: Asking, label: NamePath, csr: Annotated[bytes, Depends(read_request)]) -> Response:
    """The same: an IDevID has no end, so the same key gets the same certificate; another key needs a rework."""
    return await enrol(caller, label, csr)


async def find_chain(caller: Caller, label: str) -> Sequence[x509.Certificate]:
    """A CA's certificate, those of its other generations, and those above them, but for what was
    revoked or stopped. Raises NothingThere.
    """
    listed = await caller.ask(ListCertificates(recommended=True), DocumentsListed)
    known = {name: x509.load_pem_x509_certificate(document) for name, _, document in listed.documents}
    if label not in known:
        raise NothingThere(f"there is no CA {label}", hint=f"labels are {', '.join(sorted(known)) or 'none yet'}")
    chain = [known.pop(label)]
    generations = [name for name, other in known.items() if is_same_authority(other, chain[0])]
    chain += [known.pop(name) for name in generations]
    for certificate in chain:
        above = [name for name, other in known.items() if other.subject == certificate.issuer]
        chain += [known.pop(name) for name in above]
    return chain


def answer(certificates: Sequence[x509.Certificate]) -> Response:
    """Certificates as a degenerate SignedData (RFC 7030 section 4.1.3)."""
    der = pkcs7.serialize_certificates(list(certificates), Encoding.DER)
    return Response(base64.encodebytes(der), media_type=CERTIFICATES, headers={"Content-Transfer-Encoding": "base64"})
