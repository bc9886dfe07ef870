"""The screen of a line in a browser."""

from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response
from fastapi import Path as InPath

from api.auth import Asking
from api.boards import is_away
from api.pages.screens import SCREEN_HEADERS, Screen, Trouble, render_screen
from ceremonies.client import KeyroomDown, Refused
from ceremonies.commands import SHEETS_LIMIT

router = APIRouter(tags=["line boards"])
HTML: Final = "text/html; charset=utf-8"
NAME: Final = "^[A-Za-z0-9][A-Za-z0-9._-]*$"  # as of every name in a route
TURNS: Final = 1000
"""More than one sheet has."""


@router.get(
    "/line-boards/{plant}",
    response_class=Response,
    responses={200: {"content": {"text/html": {}}, "description": "A page that a hall can read."}},
)
async def show_line_board(
    request: Request,
    caller: Asking,
    plant: Annotated[str, InPath(min_length=1, max_length=64, pattern=NAME)],
    turn: Annotated[int, Query(ge=0, lt=TURNS)] = 0,
    sheet: Annotated[int, Query(ge=0, lt=SHEETS_LIMIT)] = 0,
) -> Response:
    """Stations and open work orders of a plant as a page that renews itself. `turn`: where there is more than fits on
    it, the page shows one part after the other; `sheet`: where there is very much more, one sheet after the other.
    """
    try:
        seen = await request.app.state.boards.find(caller, plant, sheet)
    except (KeyroomDown, Refused) as error:
        if not is_away(error):
            raise
        screen, status = Screen(plant, None, 0.0, Trouble.KEYROOM), 503
    else:
        screen, status = Screen(plant, seen.board, seen.age, Trouble.KEYROOM if seen.away else Trouble.NONE), 200
    page, following = render_screen(screen, turn)
    query = f"turn={following.turn}" + (f"&sheet={following.sheet}" if following.sheet else "")
    headers = {**SCREEN_HEADERS, "Refresh": f"{screen.seconds}; url={request.url.path}?{query}"}
    return Response(page, status, headers, HTML)
