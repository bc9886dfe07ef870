from pathlib import Path

import pytest
from pkcs11 import Attribute

from hsm.algorithms import ALGORITHMS
from hsm.findings import Finding, Grade
from hsm.templates import private_template, public_template
from hsm.trials import measure_generation, try_algorithm
from hsm.visits import Visit
from tests.hsm.visiting import visiting

P256 = ALGORITHMS["p256"]
ALL = {int(number) for item in ALGORITHMS.values() for number in (item.generation, item.mechanism)}


def grades(visit: Visit, mechanisms: set[int] = ALL, name: str = "p256") -> dict[str, Finding]:
    return {item.check: item for item in try_algorithm(visit, ALGORITHMS[name], mechanisms)}


@pytest.mark.parametrize("name", sorted(ALGORITHMS))
def test_every_algorithm_of_softhsm_does_well(token_dir: Path, name: str) -> None:
    with visiting(token_dir) as visit:
        found = grades(visit, name=name)
        assert {item.grade for item in found.values()} == {Grade.WELL}
        assert [check.removeprefix(f"{name} ") for check in found] == [
            "mechanisms", "template", "private attributes", "public attributes", "sign", "verify", "destroy",
        ]  # fmt: skip
        sensitive = found[f"{name} private attributes"].figures["CKA_SENSITIVE"]
        assert sensitive == {"asked": True, "settable": True, "read": True}
        assert found[f"{name} sign"].figures["p99_us"] >= found[f"{name} sign"].figures["p50_us"] > 0
        assert visit.clean() == 0, "nothing is left"


def test_an_algorithm_that_is_not_there_is_told_by_its_weight(token_dir: Path) -> None:
    with visiting(token_dir) as visit:
        only = {int(P256.generation), int(P256.mechanism)}
        assert grades(visit, only, "ed25519")["ed25519 mechanisms"].grade is Grade.WARNING
        assert "journal key" in grades(visit, only, "ed25519")["ed25519 mechanisms"].said
        assert grades(visit, set())["p256 mechanisms"].grade is Grade.FAILING


def test_a_refused_attribute_is_named_and_the_rest_is_tried(token_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SoftHSM refuses VERIFY on a private key: asked for it, it must be found among all the others."""
    with visiting(token_dir) as visit:
        monkeypatch.setattr("hsm.trials.private_template", lambda: {**private_template(), Attribute.VERIFY: True})
        found = grades(visit)
        assert found["p256 template"].grade is Grade.FAILING
        assert found["p256 template"].figures["refused"] == ["private CKA_VERIFY"]
        assert found["p256 sign"].grade is Grade.WELL
        assert visit.clean() == 0


def test_an_attribute_that_reads_otherwise_fails(token_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with visiting(token_dir) as visit:
        monkeypatch.setattr("hsm.trials.private_template", lambda: {**private_template(), Attribute.EXTRACTABLE: True})
        found = grades(visit)["p256 private attributes"]
        assert found.grade is Grade.FAILING
        assert "CKA_EXTRACTABLE=true" in found.said
        assert found.figures["CKA_EXTRACTABLE"]["read"] is True


def test_generation_is_measured(token_dir: Path) -> None:
    with visiting(token_dir) as visit:
        found = measure_generation(visit, P256, (public_template(P256), private_template()))
        assert found.grade is Grade.WELL
        assert 1 <= found.figures["count"] <= 5
        assert measure_generation(visit, P256, ({}, {})).grade is Grade.FAILING
