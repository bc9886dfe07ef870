"""Certificate numbers: drawn in stock, each given once."""

import asyncio
import secrets

import pytest

from ceremonies.numbers import Numbers, draw_numbers
from tests.world import World


@pytest.mark.req("CA-3")
def test_a_stock_is_drawn_once_for_all_who_wait(genesis_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    box, asked = genesis_world.room.door.strongbox, list[int]()
    real = box.random

    def random(count: int) -> bytes:
        asked.append(count)
        return real(count)

    monkeypatch.setattr(box, "random", random)

    async def run() -> list[str]:
        numbers = Numbers(genesis_world.room)
        return await asyncio.gather(*(numbers.draw() for _ in range(1000)))

    drawn = asyncio.run(run())
    assert len(set(drawn)) == 1000
    assert asked == [1000] * 20


def test_each_number_has_at_most_159_bits() -> None:
    numbers = draw_numbers(secrets.token_bytes)
    assert len(numbers) == 1000
    assert max(int(number, 16).bit_length() for number in numbers) == 159
