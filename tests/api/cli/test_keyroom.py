from pathlib import Path

from tests.api.cli.running import refusal


def test_wrong_settings_stop_the_start(tmp_path: Path) -> None:
    assert refusal("keyroom", "--settings", tmp_path / "none.toml") == "settings-invalid"
    (tmp_path / "keyroom.toml").write_text('pin = "0000"\n')
    assert refusal("keyroom", "--settings", tmp_path / "keyroom.toml") == "settings-invalid"
