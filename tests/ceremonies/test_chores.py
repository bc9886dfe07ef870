import asyncio

from structlog.testing import capture_logs

from ceremonies.chores import repeat


def test_a_chore_goes_on_after_a_failure() -> None:
    turns: list[int] = []

    async def run() -> None:
        enough = asyncio.Event()

        async def chore() -> None:
            turns.append(1)
            if len(turns) < 3:
                raise OSError(28, "No space left on device")
            enough.set()

        task = asyncio.create_task(repeat(chore, 0.001))
        await asyncio.wait_for(enough.wait(), 5)
        task.cancel()

    with capture_logs() as logged:
        asyncio.run(run())
    assert [entry["event"] for entry in logged] == ["chore failed"] * 2
