"""What the keyroom answers for the screen of a line. Exported by `ceremonies.commands`."""

from msgspec import Struct


class StationOnBoard(Struct, frozen=True):
    """A station of the plant, or one that comes with tokens and was last at work there (by its pseudonym).

    state: enrolled, expired (its certificate), suspended, revoked. issued, refused: the last time, seconds since 1970,
    0 for never. minute, hour: certificates in the last one; refused_hour: refusals. refusal: the code of the last.
    unconfirmed: units of open work orders that it issued and that were not confirmed.
    """

    station: str
    state: str
    lines: tuple[str, ...]
    work_order: str
    issued: int
    minute: int
    hour: int
    refused: int
    refused_hour: int
    refusal: str
    unconfirmed: int


class OrderOnBoard(Struct, frozen=True):
    """A work order of the plant that is not closed; of those that are over, only what has unconfirmed units.

    state: open, waiting (before its window), over (after it). valid_to: seconds since 1970.
    """

    work_order: str
    class_name: str
    state: str
    quantity: int
    used: int
    remaining: int
    confirmed: int
    unconfirmed: int
    refused: int
    valid_to: int


class LineBoardShown(Struct, frozen=True, tag="line-board-shown"):
    """A plant at a moment (`at`, seconds since 1970). alarms: what keeps keys from being used. sheet: which part of
    `sheets` this is, from 0; where stations or orders need fewer, they are there again.
    """

    plant: str
    at: int
    alarms: tuple[str, ...]
    stations: tuple[StationOnBoard, ...]
    orders: tuple[OrderOnBoard, ...]
    sheet: int = 0
    sheets: int = 1
