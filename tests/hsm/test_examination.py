"""The suite from outside, against SoftHSM and two tokens of other makers. What each cannot do stands in docs/hsm/."""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from hsm.examination import examine_token
from hsm.findings import Finding, Grade
from hsm.objects import find_objects, read_object
from tests.foreign_tokens import nss_token, tpm_token
from tests.hsm.visiting import make_task, visiting
from tests.softhsm import make_token_dir

DOCS = Path(__file__).parents[2] / "docs" / "hsm"
Found = dict[str, Finding]


@pytest.fixture(scope="module")
def foreign() -> Iterator[dict[str, Found]]:
    """One examination of each token of another maker."""
    with ExitStack() as tokens, pytest.MonkeyPatch.context() as patch:
        found = {}
        for name, make in (("nss", nss_token), ("tpm2-pkcs11", tpm_token)):
            token = tokens.enter_context(make())
            for variable, value in token.environment.items():
                patch.setenv(variable, value)
            found[name] = {item.check: item for item in examine_token(token.task())}
        yield found


def failing(found: Found) -> set[str]:
    return {check for check, item in found.items() if item.grade is not Grade.WELL}


@pytest.mark.req("HS-1")
def test_softhsm_does_everything(token_dir: Path) -> None:
    with visiting(token_dir):
        pass
    steps: list[str] = []
    found = {item.check: item for item in examine_token(make_task(token_dir), watch=steps.append)}
    assert failing(found) == set()
    assert steps[0] == "open"
    assert found["parallel"].figures["p99_us"] >= found["parallel"].figures["p50_us"]
    assert "SoftHSM" in found["token"].said


@pytest.mark.req("HS-1")
def test_nss_knows_no_copyable_and_calls_its_own_keys_foreign(foreign: dict[str, Found]) -> None:
    found = foreign["nss"]
    assert failing(found) == {
        "serial", "ed25519 mechanisms", "data objects",
        *(f"{name} {what}" for name in ("p256", "p384") for what in (
            "template", "private attributes", "public attributes")),
    }  # fmt: skip
    assert found["data objects"].figures == {"rv": "CKR_ATTRIBUTE_VALUE_INVALID"}
    assert found["p256 template"].figures["refused"] == ["public CKA_COPYABLE", "private CKA_COPYABLE"]
    assert "CKA_LOCAL=false" in found["p256 private attributes"].said
    assert found["p256 sign"].grade is Grade.WELL


@pytest.mark.req("HS-1")
def test_a_tpm_lets_keys_decrypt_and_ids_change(foreign: dict[str, Found]) -> None:
    found = foreign["tpm2-pkcs11"]
    assert failing(found) == {
        "serial", "ed25519 mechanisms", "id of a key",
        *(f"{name} {what}" for name in ("p256", "p384") for what in (
            "template", "private attributes", "public attributes")),
    }  # fmt: skip
    assert found["p256 template"].figures["refused"] == ["public CKA_ENCRYPT", "private CKA_DECRYPT"]
    assert found["p256 private attributes"].figures["CKA_LOCAL"]["read"] is True
    assert found["p256 sign"].grade is Grade.WELL


@pytest.mark.parametrize("name", ["nss", "tpm2-pkcs11"])
def test_every_difference_is_documented(foreign: dict[str, Found], name: str) -> None:
    page = (DOCS / f"{name}.md").read_text(encoding="utf-8")
    missing = [check for check in failing(foreign[name]) if f"`{check}`" not in page]
    assert missing == []


def examine_and_crash(path: Path) -> tuple[Finding, Finding]:
    """The last two findings on a fresh token, when the process of the library is killed while it has keys."""

    def crash(step: str) -> None:
        if step == "ids":
            for child in children():
                os.kill(child, signal.SIGSEGV)

    os.environ.update(make_token_dir(path))
    with visiting(path):
        pass
    *_, crashed, cleaned = examine_token(make_task(path), watch=crash)
    return crashed, cleaned


def test_a_library_that_ends_its_process_is_a_finding_and_its_keys_are_removed(token_dir: Path) -> None:
    """A kill while SoftHSM writes an object may leave one that cannot be read, as the finding says; or one that is
    nobody's, without name and id.
    """
    places = (token_dir / str(number) for number in range(5))
    for place in places:
        crashed, cleaned = examine_and_crash(place)
        assert crashed.check in ("ids", "parallel")  # the next step may have begun
        assert crashed.said == f"the process of the library ended with {-signal.SIGSEGV} in step {crashed.check}"
        assert cleaned.check == "clean-up"
        if cleaned.grade is Grade.WELL:
            with visiting(place, make=False) as visit:
                assert [item for item in map(read_object, find_objects(visit.session)) if item.id or item.label] == []
            return
        assert "C_FindObjects: CKR_ATTRIBUTE_VALUE_INVALID" in cleaned.said
    pytest.fail("never cleaned up")


def test_a_library_that_hangs_is_ended(token_dir: Path) -> None:
    with visiting(token_dir):
        pass

    def stop(step: str) -> None:
        if step == "p384":
            for child in children():
                os.kill(child, signal.SIGSTOP)

    findings = examine_token(make_task(token_dir), step_s=3.0, watch=stop)
    assert (findings[-2].grade, findings[-2].said) == (Grade.FAILING, "no answer for 3 s in step p384")
    assert findings[-1].check == "clean-up"


def children() -> list[int]:
    """The processes that this one has started."""
    return [int(pid) for tasks in Path("/proc/self/task").glob("*/children") for pid in tasks.read_text().split()]
