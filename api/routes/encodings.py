"""How values stand in JSON and in URLs: base64 for bytes, text for PEM, entries and proofs; the limits of names."""

import base64
import binascii
from typing import Annotated, Any

from fastapi import Path, Response
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, StringConstraints, WithJsonSchema

HEX32 = "^[0-9a-f]{64}$"
NAME = "^[A-Za-z0-9][A-Za-z0-9._-]*$"
REQUEST_ID = "^[A-Za-z0-9][A-Za-z0-9._:-]*$"

# The same limits as in ceremonies.commands, which a test compares; the keyroom checks them again.
Hex32 = Annotated[str, StringConstraints(pattern=HEX32)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=NAME)]
Text = Annotated[str, StringConstraints(max_length=256)]
RequestId = Annotated[str, StringConstraints(min_length=8, max_length=80, pattern=REQUEST_ID)]
Index = Annotated[int, Field(ge=0, lt=1 << 53, strict=True)]

NamePath = Annotated[str, Path(min_length=1, max_length=64, pattern=NAME)]
DigestPath = Annotated[str, Path(pattern=HEX32, description="SHA-256, lowercase hex.")]


def read_base64(value: object) -> object:
    """Bytes as they are; text must be base64 with padding (RFC 4648 section 4)."""
    if not isinstance(value, str):
        return value
    try:
        return base64.b64decode(value.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise ValueError("is not base64 (RFC 4648 section 4)") from error


def write_base64(value: bytes) -> str:
    """Base64 with padding."""
    return base64.b64encode(value).decode()


def read_text(value: object) -> object:
    """Bytes of a text document (PEM, JSON, tlog-proof) as text; the same bytes come back by encoding as UTF-8."""
    return value.decode() if isinstance(value, bytes) else value


Octets = Annotated[
    bytes,
    BeforeValidator(read_base64),
    PlainSerializer(write_base64, return_type=str),
    WithJsonSchema({"type": "string", "contentEncoding": "base64"}),
]
Characters = Annotated[str, BeforeValidator(read_text)]


class In(BaseModel):
    """A request body: unknown fields are refused, and nothing is converted silently."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Out(BaseModel):
    """An answer, made from a result of the keyroom by its attributes."""

    model_config = ConfigDict(extra="forbid", frozen=True, from_attributes=True)


def write_out(value: Out) -> Response:
    """An answer that was validated when it was made: FastAPI would do it again."""
    return Response(value.model_dump_json(), media_type="application/json")


class ProvenOut(Out):
    """Where the journal records a document. `entry` is the leaf's exact text, `proof` a C2SP tlog-proof of it."""

    index: int = Field(examples=[417])
    entry: Characters = Field(examples=['{"id":"...","log":"kedge.example/journal","seq":417}'])
    proof: Characters = Field(examples=["c2sp.org/tlog-proof@v1\nindex 417\n..."])


def binary(media_type: str, description: str) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI description of a successful answer that is not JSON."""
    return {200: {"description": description, "content": {media_type: {}}}}
