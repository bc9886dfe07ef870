import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from ceremonies.feeds import BATCH, LONGEST_PAUSE_US, MAX_ALARMS, CursorMalformed, Feed, Feeds, read_cursor
from ceremonies.results import EventShown
from ceremonies.settings import FeedPlace
from ceremonies.sinks import SinkFailed
from tests.world import World, copy_world

PLACE = FeedPlace("siem", "file:events.jsonl")


class Receiver:
    """A sink that can be away."""

    def __init__(self) -> None:
        self.got: list[EventShown] = []
        self.away = False

    async def deliver(self, events: Sequence[EventShown]) -> None:
        if self.away:
            raise SinkFailed("away")
        self.got += events

    @property
    def indices(self) -> list[int]:
        return [event.index for event in self.got if event.type != "alarm"]


class Clock:
    """A monotonic clock that is set by hand."""

    def __init__(self) -> None:
        self.us = 1_000_000_000


def open_feed(world: World, sink: Receiver, alarms: dict[str, str] | None = None, place: FeedPlace = PLACE) -> Feed:
    return Feed(world.room, place, sink, lambda: alarms or {})


def drain(feed: Feed) -> None:
    """The entry that the first delivery leaves goes out with the second turn."""
    for _ in range(2):
        asyncio.run(feed.turn())


def size(world: World) -> int:
    return world.room.ledger.journal.size


def test_every_entry_is_sent_once_in_order_and_the_cursor_outlives_the_process(genesis_world: World) -> None:
    sink = Receiver()
    drain(open_feed(genesis_world, sink))
    assert sink.indices == [*range(size(genesis_world))]
    assert sink.got[-1].type == "export", "that the feed takes entries is an entry"
    again = Receiver()
    feed = open_feed(genesis_world, again)
    assert feed.lag == 0
    asyncio.run(feed.turn())
    assert again.indices == []


@pytest.mark.req("AU-4")
def test_exporting_is_one_entry_and_not_an_entry_for_each_event(genesis_world: World) -> None:
    sink, before = Receiver(), size(genesis_world)
    feed = open_feed(genesis_world, sink)
    for _ in range(3):
        asyncio.run(feed.turn())
    assert size(genesis_world) == before + 1
    assert sink.got[-1].role == "keyroom"


def test_a_sink_that_is_away_loses_nothing_and_is_asked_less_and_less(
    genesis_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, sink = Clock(), Receiver()
    around = msgspec.structs.replace(genesis_world.room.surroundings, mono_us=lambda: clock.us)
    monkeypatch.setattr(genesis_world.room, "surroundings", around)
    feed = open_feed(genesis_world, sink)
    sink.away = True
    tries = 0
    for _ in range(200):
        failures = feed.failures
        asyncio.run(feed.turn())
        tries += feed.failures > failures
        clock.us += 1_000_000
    assert 7 <= tries <= 11
    assert feed.lag == size(genesis_world)
    sink.away = False
    clock.us += LONGEST_PAUSE_US
    drain(feed)
    assert sink.indices == [*range(size(genesis_world))]
    assert (feed.lag, feed.failures) == (0, 0)


def test_a_crash_before_the_cursor_is_written_sends_again(
    genesis_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(path: Path, data: bytes) -> None:
        raise OSError(5, "the power is cut")

    sink = Receiver()
    with monkeypatch.context() as patch:
        patch.setattr("ceremonies.feeds.write_file", crash)
        with pytest.raises(OSError, match="power"):
            asyncio.run(open_feed(genesis_world, sink).turn())
    first = len(sink.indices)
    drain(open_feed(genesis_world, sink))
    assert sink.indices[:first] == [*range(first)]
    assert sink.indices[first:] == [*range(size(genesis_world))], "at least once"


def test_a_long_journal_goes_in_batches(genesis_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ceremonies.feeds.BATCH", 7)
    assert BATCH > 7
    sink = Receiver()
    drain(open_feed(genesis_world, sink))
    assert sink.indices == [*range(size(genesis_world))]


def test_only_what_is_severe_enough_is_sent(genesis_world: World) -> None:
    sink = Receiver()
    feed = open_feed(genesis_world, sink, place=msgspec.structs.replace(PLACE, severity="critical"))
    asyncio.run(feed.turn())
    assert sink.got == []
    assert feed.lag == 0


def test_alarms_are_told_when_raised_and_when_cleared(genesis_world: World) -> None:
    sink, alarms = Receiver(), {"token kedge-main": "gone"}
    feed = Feed(genesis_world.room, PLACE, sink, lambda: alarms)
    for _ in range(2):
        asyncio.run(feed.turn())
    alarms.clear()
    asyncio.run(feed.turn())
    told = [(event.alarm, event.state) for event in sink.got if event.type == "alarm"]
    assert told == [("token", "raised"), ("token", "cleared")]


def test_alarms_that_wait_are_bounded(genesis_world: World) -> None:
    sink, alarms = Receiver(), dict[str, str]()
    feed = Feed(genesis_world.room, PLACE, sink, lambda: alarms)
    for number in range(MAX_ALARMS + 50):
        alarms[f"token t{number}"] = "gone"
        feed.watch_alarms()
    asyncio.run(feed.turn())
    assert len([event for event in sink.got if event.type == "alarm"]) == MAX_ALARMS
    assert sink.got[-1].kind == f"t{MAX_ALARMS + 49}"


@pytest.mark.parametrize("text", ["", "x", "-1", "1.5", "9" * 16, "\u0661"])
def test_a_cursor_that_is_none_stops_the_start(tmp_path: Path, text: str) -> None:
    (tmp_path / "siem").write_text(text, encoding="utf-8")
    with pytest.raises(CursorMalformed, match="holds no index"):
        read_cursor(tmp_path / "siem")
    assert read_cursor(tmp_path / "absent") == 0


def test_feeds_of_the_settings_run_beside_the_keyroom(genesis_template: World, tmp_path: Path) -> None:
    world = copy_world(genesis_template, tmp_path / "world")
    place = FeedPlace("log", f"file:{tmp_path / 'events.jsonl'}")
    world.start()
    try:
        world.room.settings = msgspec.structs.replace(world.room.settings, feeds=(place,))
        feeds = Feeds(world.room)
        drain(feeds.feeds[0])
        asyncio.run(feeds.tell())
        assert world.room.counters["feed_lag"] == world.room.counters["feeds_failing"] == 0
        lines = (tmp_path / "events.jsonl").read_text().splitlines()
        assert [json.loads(line)["index"] for line in lines] == [*range(size(world))]
    finally:
        world.stop()
