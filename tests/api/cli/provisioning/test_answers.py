"""Files of answers: whole, and never over another."""

from pathlib import Path

import msgspec
import pytest

from api.cli.provisioning import answers
from api.cli.provisioning.answers import (
    AnswerInTheWay,
    AnswerMismatch,
    Confirmed,
    is_answered,
    is_confirmed,
    put,
    read_kept,
    write_confirmed,
    write_device,
    write_json,
)
from tests.api.cli.provisioning.devices import CHAIN, NONCE, Unit


@pytest.fixture(scope="module")
def unit() -> Unit:
    return Unit("S1")


def test_an_answer_is_four_files(unit: Unit, tmp_path: Path) -> None:
    request = unit.request(tmp_path / "out")
    assert not is_answered(request)
    write_device(request, unit.device)
    assert is_answered(request)
    found = {path.name: path.read_text() for path in (tmp_path / "out").iterdir()}
    assert set(found) == {f"S1.{ending}" for ending in ("crt.pem", "chain.pem", "nonce", "answer.json")}
    assert (found["S1.crt.pem"], found["S1.chain.pem"], found["S1.nonce"]) == (unit.certificate, CHAIN, NONCE + "\n")
    kept = read_kept(tmp_path / "out", "S1")
    assert kept is not None
    assert (kept.work_order, kept.chain_sha256, kept.device.serial) == ("wo-1", unit.chain_sha256, "S1")


def test_the_same_answer_with_a_newer_proof_changes_nothing(unit: Unit, tmp_path: Path) -> None:
    request = unit.request(tmp_path)
    write_device(request, unit.device)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    (tmp_path / "S1.nonce").unlink()
    newer = msgspec.structs.replace(unit.device.proven, proof="newer")
    write_device(request, msgspec.structs.replace(unit.device, proven=newer, replayed=True, trust_set="ab"))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_another_answer_is_never_written_over(unit: Unit, tmp_path: Path) -> None:
    write_device(unit.request(tmp_path), unit.device)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    other = Unit("S1")
    with pytest.raises(AnswerInTheWay):
        write_device(other.request(tmp_path), other.device)
    with pytest.raises(AnswerInTheWay):
        is_answered(other.request(tmp_path))
    with pytest.raises(AnswerInTheWay):
        is_answered(unit.request(tmp_path, "wo-2"))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    (tmp_path / "S1.answer.json").write_bytes(b"{}")
    with pytest.raises(AnswerInTheWay):
        is_answered(unit.request(tmp_path))
    (tmp_path / "S1.answer.json").unlink()
    with pytest.raises(AnswerInTheWay):
        is_answered(unit.request(tmp_path))


@pytest.mark.parametrize("end", ["crt.pem", "chain.pem", "nonce", "answer.json"])
def test_a_crash_between_two_files_is_made_good(
    unit: Unit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    def put_until(path: Path, data: bytes) -> None:
        if path.name.endswith(end):
            (tmp_path / f".{path.name}.part").write_bytes(data[:5])
            raise KeyboardInterrupt
        put(path, data)

    monkeypatch.setattr(answers, "put", put_until)
    with pytest.raises(KeyboardInterrupt):
        write_device(unit.request(tmp_path), unit.device)
    monkeypatch.undo()
    write_device(unit.request(tmp_path), unit.device)
    assert sorted(path.name.partition(".")[2] for path in tmp_path.iterdir()) == [
        "answer.json", "chain.pem", "crt.pem", "nonce",
    ]  # fmt: skip


def test_a_certificate_for_another_key_is_not_written(unit: Unit, tmp_path: Path) -> None:
    other = Unit("S1")
    bad = (
        other.device,
        msgspec.structs.replace(unit.device, serial="S2"),
        msgspec.structs.replace(unit.device, certificate="no certificate"),
        msgspec.structs.replace(unit.device, nonce="no nonce"),
    )
    for device in bad:
        with pytest.raises(AnswerMismatch):
            write_device(unit.request(tmp_path), device)
    assert list(tmp_path.iterdir()) == []


def test_a_confirmation_is_one_file(unit: Unit, tmp_path: Path) -> None:
    request = msgspec.structs.replace(unit.request(tmp_path), act="confirm", chain_sha256=unit.chain_sha256)
    for replayed in (False, True):
        write_confirmed(request, Confirmed("S1", 420, replayed))
    assert [path.name for path in tmp_path.iterdir()] == ["S1.confirmed.json"]
    assert not is_confirmed(tmp_path, "S1")  # there is no answer that it could be of
    write_device(unit.request(tmp_path), unit.device)
    assert is_confirmed(tmp_path, "S1")
    other = msgspec.structs.replace(request, chain_sha256="0" * 64)
    for asked, index in ((request, 421), (other, 420)):
        with pytest.raises(AnswerInTheWay):
            write_confirmed(asked, Confirmed("S1", index, replayed=False))
    (tmp_path / "S1.confirmed.json").write_bytes(
        write_json({"chain_sha256": "0" * 64, "index": 1, "work_order": "wo-1"})
    )
    assert not is_confirmed(tmp_path, "S1")
    (tmp_path / "S1.confirmed.json").write_bytes(b"[]")
    with pytest.raises(AnswerInTheWay):
        is_confirmed(tmp_path, "S1")
    with pytest.raises(AnswerMismatch):
        write_confirmed(request, Confirmed("S2", 420, replayed=False))
