import io
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from hsm.algorithms import ALGORITHMS
from hsm.conformance import clean_up, examine, write_recipe
from hsm.findings import Finding, Grade
from hsm.visits import Task
from tests.hsm.visiting import make_task, visiting


def examine_all(task: Task) -> tuple[list[str], list[Finding]]:
    steps: list[str] = []
    return steps, list(examine(task, steps.append))


def test_a_token_that_does_all_and_is_left_empty(token_dir: Path) -> None:
    with visiting(token_dir):
        pass
    steps, findings = examine_all(make_task(token_dir))
    assert steps == [
        "open", "random", "p256", "p384", "ed25519", "sessions", "data objects", "generation", "ids", "parallel",
        "clean",
    ]  # fmt: skip
    assert {item.grade for item in findings} == {Grade.WELL}
    with visiting(token_dir, make=False) as visit:
        assert list(visit.session.get_objects()) == []


def test_one_thread_leaves_the_parallel_drill_out(token_dir: Path) -> None:
    with visiting(token_dir):
        pass
    assert "parallel" not in examine_all(make_task(token_dir, threads=1))[0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"module": Path("/none.so")}, "is not a PKCS#11 library"),
        ({"token": "absent"}, "has no token absent"),
        ({"pin_file": Path("/none.pin")}, "PIN file /none.pin"),
    ],
)
def test_what_cannot_be_opened_fails(token_dir: Path, change: dict[str, object], said: str) -> None:
    with visiting(token_dir):
        pass
    findings = examine_all(msgspec.structs.replace(make_task(token_dir), **change))[1]
    assert findings[-1].grade is Grade.FAILING
    assert said in findings[-1].said


def test_what_a_crash_left_is_removed(token_dir: Path) -> None:
    with visiting(token_dir) as visit:
        algorithm, templates = write_recipe(ALGORITHMS["p256"], [])
        visit.generate(algorithm, *templates)
    assert [item.said for item in clean_up(make_task(token_dir))] == ["2 objects of the crashed examination removed"]
    with visiting(token_dir, make=False) as visit:
        visit.generate(algorithm, *templates)
    findings = {item.check: item for item in examine_all(make_task(token_dir))[1]}
    assert findings["leftovers"].said == "2 objects of an earlier examination removed"
    assert findings["leftovers"].grade is Grade.WARNING


def test_an_examination_that_is_cut_short_leaves_nothing(token_dir: Path) -> None:
    with visiting(token_dir):
        pass
    steps: list[str] = []
    findings = examine(make_task(token_dir), steps.append)
    for finding in findings:
        if finding.check == "p256 template":
            break
    findings.close()
    assert steps[-1] == "clean"
    with visiting(token_dir, make=False) as visit:
        assert list(visit.session.get_objects()) == []


def test_a_recipe_leaves_out_what_was_refused() -> None:
    _, (public, private) = write_recipe(ALGORITHMS["p256"], ["public CKA_COPYABLE", "private CKA_DERIVE"])
    names = {item.name for item in public}, {item.name for item in private}
    assert "COPYABLE" not in names[0]
    assert "DERIVE" in names[0]
    assert "DERIVE" not in names[1]
    assert "COPYABLE" in names[1]


def test_what_a_library_prints_does_not_mix_with_findings(token_dir: Path) -> None:
    with visiting(token_dir):
        pass
    task = msgspec.json.encode(make_task(token_dir, threads=1), enc_hook=str)
    command = [sys.executable, "-m", "hsm.conformance"]
    done = subprocess.run(command, input=task, capture_output=True, check=True)
    lines = [msgspec.json.decode(line) for line in io.BytesIO(done.stdout)]
    assert {line["type"] for line in lines} == {"begun", "found"}
