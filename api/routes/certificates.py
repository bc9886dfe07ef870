"""Certificates of the authorities."""

from fastapi import APIRouter
from pydantic import Field

from api.auth import Asking
from api.routes.encodings import Characters, Out
from ceremonies.commands import DocumentsListed, ListCertificates

router = APIRouter(tags=["certificates"])


class CertificateOut(Out):
    """A CA certificate as PEM; the digest is that of the PEM file."""

    name: str = Field(examples=["device-ca"])
    digest: str
    certificate: Characters


class CertificatesOut(Out):
    """CA certificates."""

    certificates: tuple[CertificateOut, ...]


@router.get("/v1/certificates")
async def list_certificates(caller: Asking) -> CertificatesOut:
    """The CA certificates."""
    listed = await caller.ask(ListCertificates(), DocumentsListed)
    return CertificatesOut(
        certificates=tuple(
            CertificateOut(name=name, digest=digest, certificate=pem.decode()) for name, digest, pem in listed.documents
        )
    )
