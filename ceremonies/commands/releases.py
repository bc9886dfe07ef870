"""Artefacts, and the releases that CI asks for."""

from typing import Annotated

from msgspec import Meta

from ceremonies.commands.command import Command, Hex32, Index, Name, RequestId

CHUNK_SIZE = 1 << 20
ARTEFACT_LIMIT = 16 << 20


class Upload(Command, frozen=True, tag="upload"):
    """One chunk of an artefact, in order; `digest` is what the whole must hash to. The last chunk says `final`."""

    roles = frozenset({"pipeline", "officer"})
    digest: Hex32
    offset: Index
    data: Annotated[bytes, Meta(max_length=CHUNK_SIZE)]
    final: bool


class SignRelease(Command, frozen=True, tag="sign-release"):
    """Sign an uploaded, unsigned MCUboot image and its firmware manifest. The same id and body give the same answer."""

    roles = frozenset({"pipeline"})
    id: RequestId
    class_name: Name
    channel: Name
    version: Name
    security_version: Annotated[int, Meta(ge=0, lt=1 << 32)]
    artefact: Hex32
    provenance: Hex32 | None = None
    sbom: Hex32 | None = None
