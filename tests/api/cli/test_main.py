import json
from pathlib import Path

import pytest

from api.cli.main import VERBS
from tests.api.cli.running import kedge, program


def test_every_verb_has_help() -> None:
    text = kedge("--help").stdout
    for verb in VERBS:
        assert f"\n  {verb} " in text
        assert kedge(verb, "--help").exit_code == 0


def test_program_reports_errors_without_a_traceback(tmp_path: Path) -> None:
    done = program("officer", "show", tmp_path / "none.json")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("file-refused: ")
    assert "Traceback" not in done.stderr


def test_errors_in_json_are_one_object(tmp_path: Path) -> None:
    done = program("--json", "officer", "show", tmp_path / "none.json")
    assert set(json.loads(done.stderr)) == {"code", "message", "hint"}


def test_wrong_usage_is_status_2() -> None:
    assert kedge("kee").exit_code == 2
    assert kedge("verify").exit_code == 2


def test_refused_operations_of_the_system_are_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    result = kedge("token", "issuer-init", tmp_path / "file" / "below")
    assert result.exit_code == 1
    assert result.stderr.startswith("operating-system: ")


def test_defects_keep_their_traceback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("api.cli.officer.parse_step", fail)
    (tmp_path / "file").write_text("x")
    assert isinstance(kedge("officer", "show", tmp_path / "file").exception, ZeroDivisionError)


@pytest.mark.parametrize("option", ["--url", "--token-file", "--ca", "--socket"])
def test_options_of_the_connection_behind_the_verb_are_explained(option: str) -> None:
    result = kedge("key", "list", option, "x")
    assert result.exit_code == 2
    assert f"No such option: {option} here; it stands before the verb" in result.stderr
    assert "before the verb" not in kedge("key", "list", "--nonsense").stderr


def test_json_stands_before_or_behind_the_verb() -> None:
    before, behind = kedge("--json", "doctor"), kedge("doctor", "--json")
    assert before.exit_code == behind.exit_code == 0
    assert before.stdout == behind.stdout
    assert before.stdout.startswith("{")
