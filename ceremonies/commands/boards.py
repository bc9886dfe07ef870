"""The screen of a line."""

from ceremonies.commands.command import STAFF, Command, Name


class ShowLineBoard(Command, frozen=True, tag="show-line-board"):
    """The stations and the open work orders of a plant in figures. Operators and stations see their own plants.

    A screen asks every few seconds: its first reading is an entry, the others are counted in one an hour.
    """

    roles = STAFF | {"station"}
    plant: Name
