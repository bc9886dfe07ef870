"""What the keyroom does again and again, beside answering."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

log = structlog.get_logger()


async def repeat(chore: Callable[[], Awaitable[object]], every_s: float) -> None:
    """Do a chore again and again."""
    while True:
        await attempt(chore)
        await asyncio.sleep(every_s)


async def attempt(chore: Callable[[], Awaitable[object]]) -> None:
    """Do a chore; a failure, also one that nobody foresaw, is logged, and the next turn tries anew."""
    try:
        await chore()
    except Exception as error:  # noqa: BLE001  # a chore that ends for ever would end unseen
        log.warning("chore failed", error=getattr(error, "code", type(error).__name__), why=str(error))
