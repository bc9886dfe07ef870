"""Keys: what there is, and the emergency stop."""

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import ConfigDict, Field

from api.auth import Asking
from api.bodies import json_body, json_schema
from api.routes.encodings import In, NamePath, Octets, Out
from ceremonies.commands import KeysListed, ListKeys, SuspendKey

router = APIRouter(tags=["keys"])


class SuspensionIn(In):
    """Why a key is stopped."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "laptop of the operator was stolen"}]})

    reason: Annotated[str, Field(min_length=1, max_length=256)]


class KeyOut(Out):
    """A key without its secret. `public_key` is SPKI DER; empty while it stays unpublished."""

    label: str = Field(examples=["image-app-1"])
    role: str
    scope: str
    algorithm: str
    state: str = Field(examples=["active"])
    spki: str = Field(description="SHA-256 of SubjectPublicKeyInfo, lowercase hex.")
    uses: int
    public_key: Octets
    standing: str = Field("", description="Of a CA: issuing, pending or superseded, by its generation; else empty.")


class KeysOut(Out):
    """Keys."""

    keys: tuple[KeyOut, ...]


@router.get("/v1/keys")
async def list_keys(caller: Asking) -> KeysOut:
    """Every key and its state."""
    return KeysOut.model_validate(await caller.ask(ListKeys(), KeysListed))


@router.post("/v1/keys/{label}/suspension", status_code=201, openapi_extra=json_schema(SuspensionIn))
async def suspend_key(
    caller: Asking, label: NamePath, body: Annotated[SuspensionIn, Depends(json_body(SuspensionIn))]
) -> KeysOut:
    """Stop a key at once. One officer suffices to stop; starting it again takes a quorum."""
    return KeysOut.model_validate(await caller.ask(SuspendKey(label, body.reason), KeysListed))
