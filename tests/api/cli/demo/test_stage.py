"""The stage keeps an honest record: what does not end as it must fails the demo."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from rich.console import Console

from api.cli.demo.stage import DemoFailed, Stage, free_port


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    found = Stage(tmp_path / "out", tmp_path, Console(quiet=True))
    yield found
    found.stop()


def test_a_refusal_by_another_rule_fails(stage: Stage) -> None:
    problem = httpx.Response(409, json={"code": "serial-taken"})
    stage.expect_refusal("a clone", problem, 409, "serial-taken")
    with pytest.raises(DemoFailed, match="key-known was to refuse it"):
        stage.expect_refusal("a clone", problem, 409, "key-known")
    with pytest.raises(DemoFailed, match="422 was expected"):
        stage.expect_refusal("a clone", problem, 422, "serial-taken")
    with pytest.raises(DemoFailed, match="409 was expected"):
        stage.expect_refusal("a clone", httpx.Response(200, json={}), 409, "serial-taken")
    assert [(item.tried, item.rule, item.status) for item in stage.refused] == [("a clone", "serial-taken", 409)]


def test_a_foreign_program_that_fails_fails_the_demo(stage: Stage) -> None:
    assert stage.run("cat", stdin=b"seen") == b"seen"
    with pytest.raises(DemoFailed, match="No such file"):
        stage.run("cat", "missing")


def test_settings_hold_no_pin(stage: Stage) -> None:
    stage.make_settings("0" * 64, {"kedge-journal": ("journal",), "kedge-main": ("oem-root",)})
    text = stage.settings.read_text()
    for path in stage.work.glob("*pin"):
        assert path.read_text() not in text
        assert path.stat().st_mode & 0o077 == 0


def test_a_process_that_ends_is_noticed(stage: Stage) -> None:
    stage.settings.write_text("nonsense")
    with pytest.raises(DemoFailed, match="did not start"):
        stage.start()
    assert "settings-invalid" in stage.logs()


def test_a_free_port_is_found() -> None:
    assert free_port() > 0
