"""Events: journal entries as monitoring wants them. Alarms of the moment go to feeds and to readiness, not here."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import ConfigDict, Field

from api.auth import Asking
from api.routes.encodings import Out
from ceremonies.commands import EventsListed, ListEvents

router = APIRouter(tags=["journal"])


class AssetOut(Out):
    """The device or product that an event is about, as far as the journal names it."""

    model_config = ConfigDict(serialize_by_alias=True, validate_by_name=True)

    serial: str = ""
    class_name: str = Field(default="", serialization_alias="class")
    plant: str = ""
    work_order: str = ""


class EventOut(Out):
    """A journal entry, without proof: that is the entry at `index`. Empty members are left out."""

    index: int
    time: str = Field(examples=["2026-11-22T19:44:09.338312Z"])
    type: str = Field(examples=["key.sign.outcome"])
    severity: str = Field(examples=["info"])
    v: int
    log: str = ""
    node: str = ""
    id: str = ""
    kind: str = ""
    status: str = ""
    asset: AssetOut = AssetOut()
    change: str = ""
    ceremony: str = ""
    request: str = ""
    actor: str = ""
    role: str = ""
    keys: tuple[str, ...] = ()
    alarm: str = ""
    state: str = ""
    said: str = ""


class EventsOut(Out):
    """Events in the journal's order; ask again from `following` on."""

    events: tuple[EventOut, ...]
    following: int
    size: int


@router.get("/v1/events", response_model_exclude_defaults=True)
async def list_events(
    caller: Asking,
    start: Annotated[int, Query(ge=0, lt=1 << 53)] = 0,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> EventsOut:
    """Events from an index on, for auditors."""
    return EventsOut.model_validate(await caller.ask(ListEvents(start, limit), EventsListed))
