from pathlib import Path

import pytest

from tests.api.cli.running import kedge, refusal


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
