"""Ceremonies: propose, look at the exact bytes, decide, execute."""

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import ConfigDict, Field

from api.auth import Asking
from api.bodies import json_body, json_schema
from api.routes.encodings import In, Name, NamePath, Octets, Out, Text
from ceremonies.commands import (
    CeremoniesListed,
    CeremonyShown,
    DecideStep,
    ExecuteStep,
    ListCeremonies,
    OpenCeremony,
    ShowCeremony,
)

router = APIRouter(tags=["ceremonies"])


class CeremonyIn(In):
    """A proposal. `plan` is the JSON plan's exact bytes in base64: they are frozen as they come."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"id": "rotation-1", "action": "rotate", "plan": "e30=", "chg": "CHG-1042"}]}
    )

    id: Name
    action: Name
    plan: Annotated[Octets, Field(max_length=1 << 20)]
    chg: Text = ""


class DecisionIn(In):
    """An officer's statement (JCS bytes; the decision stands in it) and the armored SSH signature over it."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"statement": "eyJhY3Rpb24i...", "signature": "LS0tLS1..."}]}
    )

    statement: Annotated[Octets, Field(max_length=1 << 16)]
    signature: Annotated[Octets, Field(max_length=1 << 14)]


class StepOut(Out):
    """A step. `template` is the statement without officer and decision; `shown` is what it covers, JSON."""

    step: str
    template: Octets
    shown: Octets
    decisions: tuple[tuple[str, str], ...] = Field(description="(officer, decision)", examples=[[["ada", "approve"]]])
    done: bool


class CeremonyOut(Out):
    """A ceremony with its steps, in order."""

    id: str
    action: str
    state: str
    proposer: str
    chg: str
    plan: Octets
    steps: tuple[StepOut, ...]
    documents: tuple[tuple[str, str, str], ...] = Field(description="(kind, name, digest) of what was made")
    roster: Octets = Field(description="the roster in force, JSON: whose keys approve")


class CeremonyRowOut(Out):
    """A ceremony in the list."""

    id: str
    action: str
    state: str
    proposer: str


class CeremoniesOut(Out):
    """All ceremonies, newest first."""

    ceremonies: tuple[CeremonyRowOut, ...]


Decision = Annotated[DecisionIn, Depends(json_body(DecisionIn))]


@router.post("/v1/ceremonies", status_code=201, openapi_extra=json_schema(CeremonyIn))
async def open_ceremony(caller: Asking, body: Annotated[CeremonyIn, Depends(json_body(CeremonyIn))]) -> CeremonyOut:
    """Propose a ceremony."""
    command = OpenCeremony(body.id, body.action, body.plan, body.chg)
    return CeremonyOut.model_validate(await caller.ask(command, CeremonyShown))


@router.get("/v1/ceremonies")
async def list_ceremonies(caller: Asking) -> CeremoniesOut:
    """All ceremonies, newest first."""
    listed = await caller.ask(ListCeremonies(), CeremoniesListed)
    names = tuple(CeremonyRowOut.model_fields)
    rows = tuple(CeremonyRowOut(**dict(zip(names, row, strict=True))) for row in listed.ceremonies)
    return CeremoniesOut(ceremonies=rows)


@router.get("/v1/ceremonies/{ceremony}")
async def show_ceremony(caller: Asking, ceremony: NamePath) -> CeremonyOut:
    """One ceremony with the exact bytes that officers approve."""
    return CeremonyOut.model_validate(await caller.ask(ShowCeremony(ceremony), CeremonyShown))


@router.post("/v1/ceremonies/{ceremony}/steps/{step}/approvals", openapi_extra=json_schema(DecisionIn))
async def approve_step(caller: Asking, ceremony: NamePath, step: NamePath, body: Decision) -> CeremonyOut:
    """Hand in an approval. What counts is the decision inside the signed statement."""
    return await _decide(caller, ceremony, step, body)


@router.post("/v1/ceremonies/{ceremony}/steps/{step}/rejections", openapi_extra=json_schema(DecisionIn))
async def reject_step(caller: Asking, ceremony: NamePath, step: NamePath, body: Decision) -> CeremonyOut:
    """Hand in a rejection. What counts is the decision inside the signed statement."""
    return await _decide(caller, ceremony, step, body)


@router.post("/v1/ceremonies/{ceremony}/steps/{step}/execution")
async def execute_step(caller: Asking, ceremony: NamePath, step: NamePath) -> CeremonyOut:
    """Execute an approved step. The keyroom verifies every approval again."""
    return CeremonyOut.model_validate(await caller.ask(ExecuteStep(ceremony, step), CeremonyShown))


async def _decide(caller: Asking, ceremony: str, step: str, body: DecisionIn) -> CeremonyOut:
    command = DecideStep(ceremony, step, body.statement, body.signature)
    return CeremonyOut.model_validate(await caller.ask(command, CeremonyShown))
