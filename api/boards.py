"""What was read last of line boards: screens ask every few seconds, and must say so when there is nothing newer.

An answer is kept for whoever got it, by the credential that was shown, and for nobody else. So a screen that has just
asked is answered without the keyroom: a station that is revoked may read a board for FRESH_S longer, and nothing else.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final

import msgspec

from api.auth import Caller
from api.errors import STATUS
from ceremonies.client import KeyroomDown, Refused
from ceremonies.commands import LineBoardShown, ShowLineBoard

FRESH_S: Final = 3.0
KEPT_S: Final = 3600.0
"""How long figures are shown that cannot be renewed."""
PATIENCE_S: Final = 4.0
"""How long a screen waits for newer ones."""
KEPT_LIMIT: Final = 256

Key = tuple[str, bytes, int]
"""Plant, credential, sheet."""


class Seen(msgspec.Struct, frozen=True):
    """A plant's figures, how many seconds old they are, and whether there should be newer ones."""

    board: LineBoardShown
    age: float
    away: bool


class Boards:
    """The last answers of one API process. `clock`: seconds that only rise."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: dict[Key, tuple[float, LineBoardShown]] = {}

    async def find(self, caller: Caller, plant: str, sheet: int = 0) -> Seen:
        """The figures of a plant. Raises Refused; KeyroomDown when it does not answer and nothing is kept."""
        key = (plant, caller.credential, sheet)
        at, kept = self._kept.get(key, (0.0, None))
        age = self._clock() - at
        if kept is not None and age < FRESH_S:
            return Seen(kept, age, away=False)
        try:
            shown = await ask(caller, plant, sheet)
        except (KeyroomDown, Refused) as error:
            if not is_away(error):
                self._kept.pop(key, None)
                raise
            if kept is None or age > KEPT_S:
                raise
            return Seen(kept, age, away=True)
        self._keep((plant, caller.credential, shown.sheet), shown)
        return Seen(shown, 0.0, away=False)

    def _keep(self, key: Key, shown: LineBoardShown) -> None:
        self._kept.pop(key, None)
        if len(self._kept) >= KEPT_LIMIT:
            del self._kept[next(iter(self._kept))]
        self._kept[key] = (self._clock(), shown)


async def ask(caller: Caller, plant: str, sheet: int) -> LineBoardShown:
    """The figures of now. Raises Refused, KeyroomDown."""
    try:
        return await asyncio.wait_for(caller.ask(ShowLineBoard(plant, sheet), LineBoardShown), PATIENCE_S)
    except TimeoutError as error:
        raise KeyroomDown("no answer in time", hint="the figures are asked for again") from error


def is_away(error: Exception) -> bool:
    """Whether nobody could be asked; else the caller was refused."""
    return isinstance(error, KeyroomDown) or (isinstance(error, Refused) and STATUS.get(error.problem.code) == 503)
