import json
from pathlib import Path

import pytest

from api.cli import events
from ceremonies import commands
from tests.api.answers import EVENTS
from tests.api.cli.running import kedge
from tests.api.conftest import TOKEN, Served
from tests.api.peer import Peer


def page(command: commands.ListEvents) -> commands.EventsListed:
    """One event, then nothing."""
    return EVENTS if command.start < 84 else commands.EventsListed((), command.start, 84)


@pytest.mark.parametrize("way", ["http", "socket"])
def test_events_are_json_lines(served: Served, peer: Peer, tmp_path: Path, way: str) -> None:
    peer.replies = {commands.ListEvents: page}
    (tmp_path / "token").write_text(TOKEN)
    web = ["--url", served.url, "--token-file", str(tmp_path / "token")]
    options = web if way == "http" else ["--socket", str(served.settings.socket)]
    shown = kedge("events", *options, "tail", "--from", "80").stdout.splitlines()
    assert [json.loads(line)["asset"]["serial"] for line in shown] == ["BMS-1"]
    assert json.loads(shown[0])["asset"]["class"] == "bms-stm32h7"
    starts = [item.command.start for item in peer.asked if isinstance(item.command, commands.ListEvents)]
    assert starts == [80, 84]


def test_following_asks_again(served: Served, peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    peer.replies = {commands.ListEvents: page}
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("api.cli.events.time.sleep", wait)
    kedge("events", "--socket", served.settings.socket, "tail", "--follow")
    assert waits == [events.PAUSE_S] * 2
