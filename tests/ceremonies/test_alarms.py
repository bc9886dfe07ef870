import asyncio
import re
from pathlib import Path

import pytest

from ceremonies.alarms import ALARMS, kind_of, list_alarms, list_obstacles
from ceremonies.commands import HealthShown, ShowHealth
from tests.world import World

ROOT = Path(__file__).parents[2]


def test_a_keyroom_that_works_has_none(genesis_world: World) -> None:
    assert list_alarms(genesis_world.room) == {}


def test_what_stands_between_the_keyroom_and_its_keys(genesis_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    room = genesis_world.room
    room.alarms["token kedge-main"] = "token kedge-main does not work"
    room.ledger.settled = False
    monkeypatch.setattr(type(room.witnesses), "problems", lambda _: ["behind", "far behind"])
    found = list_alarms(room)
    assert set(found) == {"token kedge-main", "operation", "witnesses"}
    assert found["witnesses"] == "behind; far behind"
    monkeypatch.setattr(room.door, "governing", None)
    assert "governance" in list_alarms(room)
    assert {kind_of(name) for name in list_alarms(room)} <= set(ALARMS)
    room.ledger.settled = True


def test_what_is_late_keeps_no_key_from_use(genesis_world: World) -> None:
    room = genesis_world.room
    room.alarms["crl device-ca"] = "a list is late"
    room.alarms["closing wo-1"] = "units are not revoked"
    assert (list_obstacles(room), len(list_alarms(room))) == ((), 2)
    health = asyncio.run(genesis_world.ask(ShowHealth(), "", HealthShown))
    assert (health.ready, health.problems) == (True, ("a list is late", "units are not revoked"))
    room.alarms["token kedge-main"] = "token kedge-main does not work"
    assert list_obstacles(room) == ("token kedge-main does not work",)


def test_every_alarm_has_its_page_and_every_page_its_alarm() -> None:
    pages = {path.stem for path in (ROOT / "docs" / "runbooks").glob("*.md")} - {"README"}
    rules = (ROOT / "deploy" / "prometheus" / "kedge.rules.yml").read_text(encoding="utf-8")
    linked = set(re.findall(r"docs/runbooks/([a-z-]+)\.md", rules))
    assert linked <= pages
    assert pages == set(ALARMS) | linked
    for page in pages:
        text = (ROOT / "docs" / "runbooks" / f"{page}.md").read_text(encoding="utf-8")
        for heading in ("## What it means", "## Look", "## Do", "## Afterwards"):
            assert heading in text, f"{page}.md lacks {heading}"


def test_no_alarm_of_the_code_is_unnamed() -> None:
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "ceremonies").glob("*.py")]
    named = {kind_of(name) for text in sources for name in re.findall(r'^ALARM: Final = "([^"]+)"', text, re.MULTILINE)}
    named |= {name for text in sources for name in re.findall(r'\bfound\["([a-z-]+)"\] = ', text)}
    assert named <= set(ALARMS)
    assert "witnesses" in named
