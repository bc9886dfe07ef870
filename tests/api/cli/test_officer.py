import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from api.cli.steps import parse_step
from ceremonies.approvals import NAMESPACE, verify_approval
from tests.api.cli.running import answer, kedge, make_ssh_key, refusal
from tests.api.cli.stepfiles import PLAN, make_roster, write_step


@pytest.fixture
def file(tmp_path: Path, key: Path) -> Path:
    return write_step(tmp_path / "plan.json", "plan", PLAN, make_roster(ada=key))


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return make_ssh_key(tmp_path / "ada")


def words(file: Path) -> str:
    return " ".join(parse_step(file.read_bytes()).challenge)


@pytest.mark.req("MP-7", "T9")
def test_show_renders_everything_from_the_bytes(file: Path) -> None:
    result = kedge("officer", "show", file)
    assert result.exit_code == 0, result.output
    step = parse_step(file.read_bytes())
    for text in (step.digest, "image-app-1", "2 of 3", "this cannot be undone", "content.reason", *step.words):
        assert text in result.stdout
    assert "first\\u202eclass" in result.stdout
    assert "tab\\u0009here" in result.stdout
    assert "\u202e" not in result.stdout


def test_show_in_json_has_the_words(file: Path) -> None:
    value = answer("officer", "show", file)
    assert len(value["words"]) == 32
    assert value["shown"]["keys"] == PLAN["keys"]


@pytest.mark.req("MP-2", "MP-3")
@pytest.mark.parametrize("decision", ["approve", "reject"])
def test_signature_verifies_with_openssh_and_in_the_keyroom(
    file: Path, key: Path, decision: str, tmp_path: Path
) -> None:
    paths = answer("officer", decision, file, "--key", key, "--officer", "ada", "--words", words(file))
    statement, signature = Path(paths["statement"]), Path(paths["signature"])
    assert (statement.name, signature.name) == ("new-key-1-plan-ada.json", "new-key-1-plan-ada.json.sig")
    public = key.with_suffix(".pub").read_text()
    (tmp_path / "allowed").write_text(f'ada namespaces="{NAMESPACE}" {public}')
    command = ["ssh-keygen", "-Y", "verify", "-f", "allowed", "-I", "ada", "-n", NAMESPACE, "-s", str(signature)]
    subprocess.run(command, input=statement.read_bytes(), cwd=tmp_path, check=True, capture_output=True)
    step = parse_step(file.read_bytes())
    approval = verify_approval(step.template, statement.read_bytes(), signature.read_text(), step.roster)
    assert (approval.officer, approval.decision) == ("ada", decision)


@pytest.mark.req("MP-7")
def test_wrong_words_sign_nothing(file: Path, key: Path) -> None:
    wrong = " ".join(reversed(words(file).split()))
    code = refusal("officer", "approve", file, "--key", key, "--officer", "ada", "--words", wrong)
    assert code == "words-differ"
    assert list(file.parent.glob("*.sig")) == []


def test_words_are_asked_for_after_the_step_was_shown(file: Path, key: Path) -> None:
    result = kedge("officer", "approve", file, "--key", key, "--officer", "ada", text=words(file).upper() + "\n")
    assert result.exit_code == 0, result.output
    assert result.stdout.index("image-app-1") < result.stdout.index("ada: approve")
    assert len(list(file.parent.glob("*.sig"))) == 1


def test_nothing_is_signed_twice(file: Path, key: Path) -> None:
    arguments = ("officer", "approve", file, "--key", key, "--officer", "ada", "--words", words(file))
    answer(*arguments)
    assert refusal(*arguments) == "file-refused"
    assert refusal("officer", "reject", *arguments[2:]) == "file-refused"


def test_absent_key_is_told_in_ssh_keygens_words(file: Path, tmp_path: Path) -> None:
    key = tmp_path / "nobody"
    code = refusal("officer", "approve", file, "--key", key, "--officer", "ada", "--words", words(file))
    assert code == "signing-failed"


def test_show_cuts_nothing_on_a_narrow_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    name = "a_name_that_is_longer_than_any_terminal_is_wide" * 3
    file = write_step(tmp_path / "long.json", "plan", {**PLAN, "content": {name: "9f" * 32, "said": ":key: [bold]x"}})
    shown = kedge("officer", "show", file).stdout
    assert f"  content.{name}\n      {'9f' * 32}\n" in shown
    assert ":key: [bold]x\n" in shown
    assert "\u2026" not in shown
    assert parse_step(file.read_bytes()).digest in shown


def test_times_of_a_work_order_have_their_date(tmp_path: Path) -> None:
    content = {"valid_from": 1_800_000_000, "valid_to": 1 << 52, "prefix": "BMS-"}
    shown = kedge("officer", "show", write_step(tmp_path / "o.json", "plan", {**PLAN, "content": content})).stdout
    assert "1800000000 (2027-01-15T08:00:00Z)" in shown
    assert f"{1 << 52}\n" in shown


@pytest.fixture(params=["plan", "genesis"])
def two(request: pytest.FixtureRequest, tmp_path: Path, key: Path) -> Path:
    """A step for ada and bob: one with the roster in force beside it, and a genesis plan, which proposes it."""
    roster = make_roster(ada=key, bob=make_ssh_key(tmp_path / "bob"))
    if request.param == "plan":
        return write_step(tmp_path / "step.json", "plan", PLAN, roster)
    content = {"roster": json.loads(roster.document)}
    named = {"roster_sha256": roster.digest}
    return write_step(tmp_path / "step.json", "plan", {**PLAN, "content": content}, action="genesis", params=named)


@pytest.mark.req("MP-7")
def test_a_step_is_signed_with_ones_own_key_only(two: Path, key: Path) -> None:
    early = ("officer", "approve", two, "--words", "not asked for yet", "--key", key.with_name("bob"))
    assert refusal(*early, "--officer", "ada") == "key-not-in-roster"
    signing = ("officer", "approve", two, "--words", words(two), "--key")
    assert refusal(*signing, key.with_name("bob"), "--officer", "ada") == "key-not-in-roster"
    assert refusal(*signing, make_ssh_key(key.with_name("eve")), "--officer", "ada") == "key-not-in-roster"
    assert refusal(*signing, key, "--officer", "eve") == "key-not-in-roster"
    assert list(two.parent.glob("*.sig")) == []
    answer(*signing, key, "--officer", "ada")
    answer(*signing, key.with_name("bob"), "--officer", "bob")


@pytest.mark.req("MP-7")
def test_a_key_without_its_public_half_is_judged_by_its_signature(two: Path, key: Path) -> None:
    signing = ("officer", "approve", two, "--words", words(two), "--key")
    for name in ("ada", "bob"):
        key.with_name(f"{name}.pub").unlink()
    before = sorted(two.parent.iterdir())
    assert refusal(*signing, key.with_name("bob"), "--officer", "ada") == "key-not-in-roster"
    assert sorted(two.parent.iterdir()) == before
    answer(*signing, key, "--officer", "ada")


@pytest.mark.req("MP-7")
def test_only_the_roster_that_the_statement_names_counts(key: Path, tmp_path: Path) -> None:
    """Eve puts a roster with her own key beside the step, or none; or a genesis plan has another than its statement."""
    mine, eves = make_roster(ada=key), make_roster(ada=make_ssh_key(tmp_path / "eve"))
    named = {"roster_sha256": mine.digest}
    proposed = {**PLAN, "content": {"roster": json.loads(eves.document)}}
    files = (
        write_step(tmp_path / "1.json", "plan", PLAN, eves, params=named),
        write_step(tmp_path / "2.json", "plan", PLAN, params=named),
        write_step(tmp_path / "3.json", "plan", PLAN, mine, params={}),
        write_step(tmp_path / "4.json", "plan", proposed, mine, action="genesis", params=named),
        write_step(tmp_path / "5.json", "plan", {**PLAN, "content": {"roster": {"officers": []}}}, action="genesis"),
    )
    for file in files:
        signing = ("officer", "approve", file, "--officer", "ada", "--words", words(file), "--key")
        assert [refusal(*signing, key), refusal(*signing, tmp_path / "eve")] == ["step-file-inconsistent"] * 2
    assert list(tmp_path.glob("*.sig")) == []


@pytest.mark.req("KL-9")
@pytest.mark.parametrize(
    ("action", "step", "content", "sentence"),
    [
        (
            "log-key-rotate",
            "results",
            {"keys": [{"label": "journal-2", "role": "journal", "token": "kedge-journal"}]},
            "key journal-2 signs every checkpoint, beside the present one",
        ),
        ("log-key-retire", "plan", {"leaves": {"label": "journal"}}, "key journal signs no checkpoint of the journal"),
        (
            "ca-switch",
            "plan",
            {"issuing": {"label": "ca-2", "generation": 2}, "superseded": {"label": "ca", "generation": 1}},
            "CA ca-2 issues; ca issues nothing any more",
        ),
        ("ca-rotate", "plan", {"linked": ["root"]}, "links in both directions between the new root and root"),
    ],
)
def test_an_officer_reads_who_signs_the_journal_afterwards(
    tmp_path: Path, action: str, step: str, content: dict[str, Any], sentence: str
) -> None:
    file = write_step(tmp_path / "step.json", step, content, action=action)
    assert sentence in kedge("officer", "show", str(file)).stdout
