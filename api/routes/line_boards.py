"""The screen of a line as figures; `api.pages` shows the same to a browser."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import Field

from api.auth import Asking
from api.routes.encodings import NamePath, Out
from ceremonies.commands import SHEETS_LIMIT

router = APIRouter(tags=["line boards"])


class StationOnBoardOut(Out):
    """A station. Times are seconds since 1970, 0 for never."""

    station: str = Field(examples=["graz-line-3-a"])
    state: str = Field(description="enrolled, expired, suspended, revoked", examples=["enrolled"])
    lines: tuple[str, ...]
    work_order: str = Field(description="The one that it asked for last.")
    issued: int = Field(description="When it had a certificate issued last.")
    minute: int = Field(description="Certificates in the last minute.")
    hour: int = Field(description="Certificates in the last hour.")
    refused: int
    refused_hour: int
    refusal: str = Field(description="The code of the last refusal.")
    unconfirmed: int = Field(description="Units of open orders that it issued and that were not confirmed.")


class OrderOnBoardOut(Out):
    """A work order that is not closed."""

    work_order: str
    class_name: str
    state: str = Field(description="open; waiting (before its window), over (after it)", examples=["open"])
    quantity: int
    used: int
    remaining: int
    confirmed: int
    unconfirmed: int
    refused: int
    valid_to: int


class BoardOut(Out):
    """A plant at a moment (`at`, seconds since 1970). `alarms`: what keeps keys from being used."""

    plant: str
    at: int
    alarms: tuple[str, ...]
    stations: tuple[StationOnBoardOut, ...]
    orders: tuple[OrderOnBoardOut, ...]
    sheet: int = Field(description="Which part of the board this is, from 0.")
    sheets: int = Field(description="How many there are; a list that needs fewer begins anew.")


class LineBoardOut(Out):
    """`age`: of the figures, in seconds. `away`: they are old, the keyroom does not answer."""

    board: BoardOut
    age: float
    away: bool


@router.get("/v1/line-boards/{plant}")
async def read_line_board(
    request: Request, caller: Asking, plant: NamePath, sheet: Annotated[int, Query(ge=0, lt=SHEETS_LIMIT)] = 0
) -> LineBoardOut:
    """Stations and open work orders of a plant; operators and stations see their own. A plant with many comes in
    sheets.
    """
    return LineBoardOut.model_validate(await request.app.state.boards.find(caller, plant, sheet))
