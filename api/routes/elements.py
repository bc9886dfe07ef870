"""Keys that live in hardware: manifests of secure elements, and keys of TPMs."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Response
from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from api.auth import Asking
from api.bodies import json_body, json_schema
from api.routes.encodings import DigestPath, In, NamePath, Octets, Out, write_out
from ceremonies.commands import (
    ELEMENTS_LIMIT,
    ActivateTpm,
    ChallengeTpm,
    CheckManifest,
    ElementsListed,
    ListElements,
    ManifestChecked,
    TpmActivated,
    TpmChallenged,
)

router = APIRouter(tags=["elements"])
_UNIT = "/v1/work-orders/{work_order}/devices/{serial}"
_EXAMPLE: Final[JsonDict] = {"endorsement": "MIID...", "area": "AFgAIwAL...", "chain": ["MIIE..."]}


class RefusedOut(Out):
    """An entry of a manifest (the first is 1; 0: the file) that cannot be imported, and why."""

    entry: int
    why: str


class ManifestOut(Out):
    """What an import would do: elements by part number; the bad entries, the first thousand of `bad_count`."""

    parts: dict[str, int]
    bad: tuple[RefusedOut, ...]
    bad_count: int


class ElementOut(Out):
    """A key that lives in hardware. `ident`: the element's unique id, or SHA-256 of the TPM's endorsement key."""

    key: str = Field(description="SHA-256 of its SubjectPublicKeyInfo, hex.")
    kind: str = Field(examples=["secure-element", "tpm"])
    ident: str
    serial: str = Field(description="The device that a TPM is of; empty for secure elements.")
    index: int = Field(description="The journal entry that says so.")


class ElementsOut(Out):
    """Keys by name; ask again with `following` as `after` until it is empty."""

    elements: tuple[ElementOut, ...]
    following: str


class ChallengeIn(In):
    """Certificate of the TPM's endorsement key, with those above it, and the public area (TPM2B_PUBLIC) of the key."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    endorsement: Annotated[Octets, Field(min_length=1, max_length=1 << 14)]
    area: Annotated[Octets, Field(min_length=1, max_length=1024)]
    chain: Annotated[tuple[Annotated[Octets, Field(max_length=1 << 14)], ...], Field(max_length=4)] = ()


class TpmChallengeOut(Out):
    """What TPM2_ActivateCredential takes: TPM2B_ID_OBJECT (`blob`), TPM2B_ENCRYPTED_SECRET (`seed`)."""

    challenge: str
    blob: Octets
    seed: Octets
    key: str
    expires: int = Field(description="Seconds since 1970.")


class ActivationIn(In):
    """The secret that the TPM gave back."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"challenge": "9f" * 16, "secret": "AAEC..."}]})

    challenge: Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
    secret: Annotated[Octets, Field(min_length=1, max_length=64)]


class ActivationOut(Out):
    """The key lives in the TPM of endorsement key `ident`; `index` is the journal entry that says so."""

    serial: str
    key: str
    ident: str
    index: int
    replayed: bool


@router.get("/v1/elements")
async def list_elements(
    caller: Asking,
    after: Annotated[str, Query(pattern="^([0-9a-f]{64})?$")] = "",
    limit: Annotated[int, Query(ge=1, le=ELEMENTS_LIMIT)] = ELEMENTS_LIMIT,
) -> Response:
    """Keys that are known to live in hardware."""
    return write_out(ElementsOut.model_validate(await caller.ask(ListElements(after, limit), ElementsListed)))


@router.get("/v1/elements/manifests/{sha256}")
async def check_manifest(caller: Asking, sha256: DigestPath) -> ManifestOut:
    """What the ceremony `elements-import` of an uploaded manifest would do: nothing is done."""
    return ManifestOut.model_validate(await caller.ask(CheckManifest(sha256), ManifestChecked))


@router.post(_UNIT + "/tpm-challenge", status_code=201, openapi_extra=json_schema(ChallengeIn))
async def challenge_tpm(
    caller: Asking,
    work_order: NamePath,
    serial: NamePath,
    body: Annotated[ChallengeIn, Depends(json_body(ChallengeIn))],
) -> TpmChallengeOut:
    """A credential that the unit's TPM opens only while it holds this key."""
    command = ChallengeTpm(work_order, serial, body.endorsement, body.area, body.chain)
    return TpmChallengeOut.model_validate(await caller.ask(command, TpmChallenged))


@router.post(_UNIT + "/tpm-activation", response_model=ActivationOut, openapi_extra=json_schema(ActivationIn))
async def activate_tpm(
    caller: Asking,
    work_order: NamePath,
    serial: NamePath,
    body: Annotated[ActivationIn, Depends(json_body(ActivationIn))],
) -> Response:
    """What the TPM gave back. From here on the key may have the unit's certificate."""
    command = ActivateTpm(work_order, serial, body.challenge, body.secret)
    return write_out(ActivationOut.model_validate(await caller.ask(command, TpmActivated)))
