"""Certificate numbers: 159 random bits each, drawn from the token in stock."""

import asyncio
from collections.abc import Callable

from ceremonies.genesis import draw_number
from ceremonies.room import Room


class Numbers:
    """A stock of certificate numbers."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._stock: list[str] = []
        self._drawing = asyncio.Lock()

    async def draw(self) -> str:
        """A number of 159 random bits from the token's generator, in hex."""
        if not self._stock:
            async with self._drawing:
                if not self._stock:
                    self._stock += await self._room.act(lambda: draw_numbers(self._room.door.strongbox.random))
        return self._stock.pop()


def draw_numbers(random: Callable[[int], bytes]) -> list[str]:
    """A thousand numbers, 50 from each draw: a token gives up to 1,024 bytes at once."""
    draws = [random(1000) for _ in range(20)]
    return [f"{draw_number(draw[at : at + 20]):x}" for draw in draws for at in range(0, 1000, 20)]
