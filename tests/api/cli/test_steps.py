import base64
import json
from pathlib import Path

import pytest

from api.cli.errors import StepFileInconsistent
from api.cli.steps import parse_step
from ceremonies.errors import ApprovalMalformed
from ceremonies.words import spell_digest
from tests.api.cli.stepfiles import PLAN, make_template, results, show_draft, write_step


def edit(path: Path, **changes: str) -> bytes:
    return json.dumps({**json.loads(path.read_text()), **changes}).encode()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_step(tmp_path / "plan.json", "plan", PLAN)


def test_words_stand_for_the_digest(file: Path) -> None:
    step = parse_step(file.read_bytes())
    assert step.digest == step.template.draft
    assert step.words == spell_digest(bytes.fromhex(step.digest))
    assert step.challenge == step.words[-4:]


@pytest.mark.req("T9", "MP-2")
def test_statement_about_something_else_than_shown_is_refused(file: Path) -> None:
    shown = base64.b64encode(json.dumps({**PLAN, "destroy": []}).encode()).decode()
    with pytest.raises(StepFileInconsistent, match="what is shown has"):
        parse_step(edit(file, shown=shown))


@pytest.mark.parametrize("field", ["ceremony", "action", "step"])
def test_file_that_names_another_step_is_refused(file: Path, field: str) -> None:
    with pytest.raises(StepFileInconsistent):
        parse_step(edit(file, **{field: "other"}))


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"ceremony":1}', b"\xff", b'{"a":1,"a":1}'])
def test_other_files_are_refused(data: bytes) -> None:
    with pytest.raises(StepFileInconsistent):
        parse_step(data)


def test_unknown_fields_are_refused(file: Path) -> None:
    with pytest.raises(StepFileInconsistent):
        parse_step(edit(file, hidden="x"))


def test_template_that_does_not_parse_is_refused(file: Path) -> None:
    with pytest.raises(ApprovalMalformed):
        parse_step(edit(file, template=base64.b64encode(b"{}").decode()))


@pytest.mark.parametrize("shown", [b"[]", b"1", b'{"a":1.5}', b"{"])
def test_what_is_shown_must_be_strict_json(tmp_path: Path, shown: bytes) -> None:
    template = make_template("plan", b"{}")
    fields = {"template": base64.b64encode(template.document).decode(), "shown": base64.b64encode(shown).decode()}
    with pytest.raises(StepFileInconsistent):
        _ = parse_step(edit(write_step(tmp_path / "x", "plan", {}), **fields)).content


def test_statement_must_name_the_keys_of_the_drafts(tmp_path: Path) -> None:
    shown = results(show_draft("ceremony.note", b"payload"))
    assert parse_step(write_step(tmp_path / "a", "results", shown).read_bytes()).drafts
    step = parse_step(write_step(tmp_path / "b", "results", shown, signers=()).read_bytes())
    with pytest.raises(StepFileInconsistent, match="other signing keys"):
        _ = step.drafts
