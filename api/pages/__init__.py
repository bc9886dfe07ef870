"""Pages for people, made on the server: no script, nothing from elsewhere."""

from typing import Final

from fastapi import APIRouter

from api.pages import boards

PAGES: Final[tuple[APIRouter, ...]] = (boards.router,)
