import json
import secrets
from pathlib import Path

import pytest
import typer

from api.cli.doctor import check_api, examine_token, tell
from api.cli.session import Session
from ceremonies.checkups import Checked, Grade
from ceremonies.software import software_sha256
from hsm.visits import Task
from tests.api.cli.running import answer, kedge, program, refusal
from tests.ceremonies.authorities import Authority
from tests.softhsm import find_module, make_token, make_token_dir


@pytest.mark.req("T32")
def test_digest_of_the_software_is_printed_with_its_words() -> None:
    value = answer("doctor")
    assert value["software_sha256"] == software_sha256()
    assert value["grade"] == "well"
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
    (tmp_path / "keyroom.toml").chmod(0o640)
    done = program("doctor", "--settings", tmp_path / "keyroom.toml", "--json", **environment)
    assert done.returncode == 2
    value = json.loads(done.stdout)
    assert value["grade"] == "failing"
    found = value["findings"]
    failing = {check for check, item in found.items() if item["grade"] == "failing"}
    assert failing == {"PIN of absent", "socket", "token absent"}
    assert found["token kedge"]["found"].startswith("serial ")
    assert found["database"]["grade"] == "warning"
    assert f"start it: kedge keyroom --settings {tmp_path / 'keyroom.toml'}" in found["socket"]["found"]
    assert "0000" not in done.stdout.replace("mode 0000", "")


@pytest.mark.req("AZ-5")
@pytest.mark.parametrize(("days", "grade"), [(60, "well"), (20, "warning"), (-0.01, "failing")])
def test_an_api_on_another_machine_looks_at_its_own_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: float, grade: Grade
) -> None:
    files = Authority(tmp_path / "ca").issue("api-1.example", days=days)
    environment = {
        "KEDGE_API_PUBLIC_DIR": str(tmp_path), "KEDGE_API_KEYROOM": "127.0.0.1:1",
        "KEDGE_API_KEYROOM_NAME": "keyroom.example", "KEDGE_API_KEYROOM_CA": str(files.ca),
        "KEDGE_API_KEYROOM_CERT": str(files.certificate), "KEDGE_API_KEYROOM_KEY": str(files.key),
        "KEDGE_API_TLS_CERT": str(files.certificate), "KEDGE_API_TLS_KEY": str(files.key),
    }  # fmt: skip
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = {item.check: item for item in check_api()}
    wanted = {"api": "well", "api's certificate": grade, "api to keyroom": "well"}
    wanted |= {"api to keyroom's certificate": grade, "api to keyroom's authorities": "well"}
    assert {name: found[name].grade for name in wanted} == wanted
    away = found["api's keyroom"]
    assert ("127.0.0.1:1" in away.found, away.grade) == (True, "failing"), "it is asked, and is away"
    assert "api to keyroom's certificate" in kedge("doctor").stdout


def test_settings_of_an_api_that_are_wrong_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEDGE_API_SOCKEY", "x")
    assert [item.grade for item in check_api()] == ["failing"]


def test_absent_settings_fail(tmp_path: Path) -> None:
    result = kedge("doctor", "--settings", tmp_path / "none.toml")
    assert result.exit_code == 2
    assert "FAILING" in result.stdout


@pytest.mark.req("HS-1")
def test_a_token_is_examined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment = make_token_dir(tmp_path)
    monkeypatch.setenv("SOFTHSM2_CONF", environment["SOFTHSM2_CONF"])
    make_token(tmp_path, "kedge")
    task = Task(find_module(), "kedge", tmp_path / "kedge.pin", secrets.token_bytes(8), seconds=0.02)
    with pytest.raises(typer.Exit) as ended:
        examine_token(Session(json=True), task)
    value = json.loads(capsys.readouterr().out)
    assert (ended.value.exit_code, value["grade"]) == (0, "well")
    assert value["figures"]["p256 private attributes"]["CKA_LOCAL"]["read"] is True
    assert value["figures"]["parallel"]["threads"] == 4


@pytest.mark.req("HS-5")
def test_a_wrong_pin_ends_an_examination(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = make_token_dir(tmp_path)
    monkeypatch.setenv("SOFTHSM2_CONF", environment["SOFTHSM2_CONF"])
    make_token(tmp_path, "kedge")
    (tmp_path / "kedge.pin").write_text("wrong-pin\n")
    done = program(
        "doctor", "--token", "kedge", "--module", find_module(), "--pin-file", tmp_path / "kedge.pin", **environment
    )
    assert done.returncode == 2
    assert "CKR_PIN_INCORRECT" in done.stdout
    assert "wrong-pin" not in done.stdout + done.stderr


def test_a_token_needs_module_and_pin_file() -> None:
    assert refusal("doctor", "--token", "kedge", status=2) == "doctor-misled"


def test_what_cannot_be_looked_at_is_told_by_the_status(capsys: pytest.CaptureFixture[str]) -> None:
    expected: tuple[tuple[Grade, int], ...] = (("well", 0), ("warning", 1), ("failing", 2), ("unknown", 3))
    for grade, status in expected:
        with pytest.raises(typer.Exit) as ended:
            tell(Session(json=True), [Checked("check", grade, "found")], {})
        assert ended.value.exit_code == status
        assert json.loads(capsys.readouterr().out)["grade"] == grade
