"""The screen of a line."""

from typing import Annotated

from msgspec import Meta

from ceremonies.commands.command import STAFF, Command, Name

SHEETS_LIMIT = 100_000


class ShowLineBoard(Command, frozen=True, tag="show-line-board"):
    """The stations and the open work orders of a plant in figures. Operators and stations see their own plants.

    A screen asks every few seconds: its first reading is an entry, the others are counted in one an hour. sheet: which
    part of a board that is too long for one answer; behind the last it begins anew.
    """

    roles = STAFF | {"station"}
    plant: Name
    sheet: Annotated[int, Meta(ge=0, lt=SHEETS_LIMIT)] = 0
