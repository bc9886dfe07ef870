from pathlib import Path

import pytest

from ceremonies.software import software_sha256
from tests.api.cli.running import answer, kedge, program
from tests.softhsm import find_module, make_token, make_token_dir


@pytest.mark.req("T32")
def test_digest_of_the_software_is_printed_with_its_words() -> None:
    value = answer("doctor")
    assert value["software_sha256"] == software_sha256()
    assert len(value["findings"]["words"]["found"].split()) == 32


def test_settings_module_tokens_and_pins_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = make_token_dir(tmp_path)
    monkeypatch.setenv("SOFTHSM2_CONF", environment["SOFTHSM2_CONF"])
    make_token(tmp_path, "kedge")
    (tmp_path / "open.pin").write_text("0000\n")
    (tmp_path / "open.pin").chmod(0o644)
    (tmp_path / "keyroom.toml").write_text(f'''
origin = "kedge.example/journal"
node = "n1"
data = "data"
public = "public"
socket = "keyroom.sock"
module = "{find_module()}"
roster_sha256 = ""
witnesses = "quorum none\\n"
[[tokens]]
label = "kedge"
pin_file = "kedge.pin"
roles = ["identity-root"]
[[tokens]]
label = "absent"
pin_file = "open.pin"
roles = ["journal"]
''')
    done = program("doctor", "--settings", tmp_path / "keyroom.toml", **environment)
    assert done.returncode == 1
    assert done.stderr.startswith("doctor-found: wrong: PIN of absent, socket, token absent")
    assert "serial " in done.stdout
    assert f"start it: kedge keyroom --settings {tmp_path / 'keyroom.toml'}\n" in done.stdout
    assert f"  {software_sha256()}\n" in done.stdout
    assert "0000" not in done.stdout.replace("mode 0000", "")


def test_absent_settings_are_wrong(tmp_path: Path) -> None:
    result = kedge("doctor", "--settings", tmp_path / "none.toml")
    assert result.exit_code == 1
    assert "settings" in result.stderr
