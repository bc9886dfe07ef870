from pathlib import Path

import pytest

from ceremonies.settings import KeyroomSettings
from tests.api.cli.running import kedge, refusal
from tests.ceremonies.test_process import write_settings


def test_wrong_settings_stop_the_start(tmp_path: Path) -> None:
    assert refusal("keyroom", "--settings", tmp_path / "none.toml") == "settings-invalid"
    (tmp_path / "keyroom.toml").write_text('pin = "0000"\n')
    assert refusal("keyroom", "--settings", tmp_path / "keyroom.toml") == "settings-invalid"


@pytest.mark.parametrize("verb", ["keyroom", "up"])
def test_a_missing_pin_file_is_named_with_its_remedy(tmp_path: Path, verb: str) -> None:
    (tmp_path / "keyroom.toml").write_text("""
origin = "kedge.example/journal"
node = "n1"
data = "data"
public = "public"
socket = "keyroom.sock"
module = "none.so"
roster_sha256 = ""
witnesses = "quorum none\\n"
[[tokens]]
label = "kedge"
pin_file = "kedge.pin"
roles = ["journal"]
""")
    result = kedge(verb, "--settings", tmp_path / "keyroom.toml")
    assert result.exit_code == 1
    assert f"PIN file {tmp_path / 'kedge.pin'} of token kedge is missing" in result.stderr
    assert f"create {tmp_path / 'kedge.pin'} with the token's PIN, then chmod 0400" in result.stderr


def test_both_commands_can_make_tokens() -> None:
    assert all("--make-tokens" in kedge(verb, "--help").stdout for verb in ("keyroom", "up"))


@pytest.mark.parametrize(("option", "directory"), [(["--recover", "given"], "given"), ([], "told")])
def test_an_approved_recovery_is_named_by_option_or_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: list[str], directory: str
) -> None:
    found: list[KeyroomSettings] = []

    def take(source: Path, settings: KeyroomSettings, *, make: bool) -> None:
        assert (source, make) == (file, False)
        found.append(settings)

    monkeypatch.setattr("ceremonies.process.run_keyroom", take)
    file = write_settings(tmp_path)
    file.write_text(f'recovery = "told"\n{file.read_text()}')
    assert kedge("keyroom", "--settings", file, *option).exit_code == 0
    assert found[0].recovery == (Path("given") if option else tmp_path / directory)
