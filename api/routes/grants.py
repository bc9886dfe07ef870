"""Site boxes: grants, settlements of their journals, certificates that should not exist."""

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import ConfigDict, Field

from api.auth import Asking
from api.bodies import json_body, json_schema
from api.routes.encodings import Characters, Hex32, In, NamePath, Octets, Out
from ceremonies.commands import (
    PARTS_LIMIT,
    STRAYS_LIMIT,
    BoxSettled,
    FindStrays,
    GrantsListed,
    ListGrants,
    SettleBox,
    StraysFound,
)

router = APIRouter(tags=["site boxes"])


class SettlementIn(In):
    """A medium: a ustar archive of the box's export, uploaded in parts. `dry_run` only tells."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"parts": ["9f" * 32]}]})

    parts: Annotated[tuple[Hex32, ...], Field(min_length=1, max_length=PARTS_LIMIT)]
    dry_run: bool = False


class StraysIn(In):
    """Certificates that were seen, PEM or DER, in base64."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"certificates": ["MIIB..."]}]})

    certificates: Annotated[
        tuple[Annotated[Octets, Field(max_length=1 << 14)], ...], Field(min_length=1, max_length=STRAYS_LIMIT)
    ]


class GrantOut(Out):
    """A grant. `used`: at a box what it has begun, at a centre what is settled. Classes are ids in hex."""

    id: str = Field(examples=["graz-2026-01"])
    box: str = Field(description="The label of the box's CA; empty at a box.")
    number: int
    quantity: int
    used: int
    profiles: tuple[str, ...]
    classes: tuple[str, ...]
    valid_from: int
    valid_to: int
    document: str
    current: bool


class BoxOut(Out):
    """A site box; `checkpoint` is the note from which its next export goes on (`--since`)."""

    box: str = Field(examples=["graz-box-ca"])
    plant: str
    ca: str
    size: int
    used: int
    time: str
    checkpoint: Characters


class GrantsOut(Out):
    """Boxes and grants of a centre; or, with `plant`, the grants that this site box holds."""

    plant: str
    boxes: tuple[BoxOut, ...]
    grants: tuple[GrantOut, ...]


class FindingOut(Out):
    """Something that should not be; `index` is the entry of the box's journal."""

    code: str = Field(examples=["overuse"])
    index: int
    serial: str
    said: str


class SettlementOut(Out):
    """What was read from the box's journal; `findings` are the first thousand of `findings_count`."""

    box: str
    since: int
    size: int
    certificates: int
    devices: int
    counts: dict[str, int]
    used: dict[str, int]
    findings: tuple[FindingOut, ...]
    findings_count: int
    alarm: bool
    index: int = Field(description="The entry that records it; 0 for a dry run.")


class StrayOut(Out):
    """A certificate that was seen: known, unsettled, stray or foreign."""

    number: str
    box: str
    state: str


class StraysOut(Out):
    """One verdict for each certificate, in order."""

    verdicts: tuple[StrayOut, ...]


@router.get("/v1/grants")
async def list_grants(caller: Asking) -> GrantsOut:
    """Site boxes and grants, and what is used of them."""
    return GrantsOut.model_validate(await caller.ask(ListGrants(), GrantsListed))


@router.post("/v1/boxes/{box}/settlements", openapi_extra=json_schema(SettlementIn))
async def settle_box(
    caller: Asking, box: NamePath, body: Annotated[SettlementIn, Depends(json_body(SettlementIn))]
) -> SettlementOut:
    """Read the journal of a site box. The same medium again finds nothing new."""
    command = SettleBox(box, body.parts, body.dry_run)
    return SettlementOut.model_validate(await caller.ask(command, BoxSettled))


@router.post("/v1/boxes/strays", openapi_extra=json_schema(StraysIn))
async def find_strays(caller: Asking, body: Annotated[StraysIn, Depends(json_body(StraysIn))]) -> StraysOut:
    """Which certificates by the CAs of site boxes are not in their journals?"""
    return StraysOut.model_validate(await caller.ask(FindStrays(body.certificates), StraysFound))
