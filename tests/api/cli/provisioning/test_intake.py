"""Requests from files."""

import sys
from pathlib import Path

import pytest

from api.cli.errors import FileRefused
from api.cli.provisioning import intake
from api.cli.provisioning.answers import write_device
from api.cli.provisioning.intake import (
    CSR,
    READBACK,
    ChainMismatch,
    ConfirmationInvalid,
    DeviceUnanswered,
    SignerFailed,
    Source,
    list_sources,
    read_confirmation,
    read_csr,
    split_batches,
)
from tests.api.cli.provisioning.devices import CHAIN, Unit

ECHO = f'{sys.executable} -c \'import os,sys; sys.stdout.buffer.write(open(os.environ["KEDGE_SERIAL"],"rb").read())\''


@pytest.fixture(scope="module")
def unit() -> Unit:
    return Unit("S1")


@pytest.fixture
def place(unit: Unit, tmp_path: Path) -> Source:
    """A unit that was answered, written and read back."""
    write_device(unit.request(tmp_path), unit.device)
    path = tmp_path / "S1.readback"
    path.write_text(unit.certificate + CHAIN)
    (tmp_path / "S1.sig").write_bytes(unit.sign())
    return Source("S1", path)


def test_a_file_or_a_directory_names_its_serials(tmp_path: Path) -> None:
    for name in ("S2.csr", "S1.csr", "S3.key", ".csr.txt"):
        (tmp_path / name).write_bytes(b"x")
    assert [item.serial for item in list_sources(tmp_path, CSR)] == ["S1", "S2"]
    assert list_sources(tmp_path / "S2.csr", CSR) == [Source("S2", tmp_path / "S2.csr")]
    for path in (tmp_path / "S3.key", tmp_path / "none"):
        with pytest.raises(FileRefused):
            list_sources(path, CSR)


@pytest.mark.req("T24")
@pytest.mark.parametrize("name", ["..csr", ".hidden.csr", "S 1.csr", "S%2f.csr", "Ä.csr", f"{'S' * 65}.csr"])
def test_a_serial_is_a_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(FileRefused):
        list_sources(tmp_path, CSR)


def test_a_csr_has_a_size(tmp_path: Path) -> None:
    path = tmp_path / "S1.csr"
    for data in (b"", bytes((1 << 14) + 1)):
        path.write_bytes(data)
        with pytest.raises(FileRefused):
            read_csr(Source("S1", path), "wo-1", tmp_path, 7)
    path.write_bytes(b"csr")
    request = read_csr(Source("S1", path), "wo-1", Path("out"), 7)
    assert (request.csr, request.out, request.at) == (b"csr", str(Path("out").absolute()), 7)


def test_what_was_read_back_and_signed_is_a_confirmation(unit: Unit, place: Source) -> None:
    request = read_confirmation(place, "", 7)
    assert (request.act, request.order, request.chain_sha256) == ("confirm", "wo-1", unit.chain_sha256)
    assert request.out == str(place.path.parent)
    assert list_sources(place.path, READBACK) == [place]


def test_a_command_has_the_unit_sign(unit: Unit, place: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place.path.parent)
    (place.path.parent / "S1").write_bytes(unit.sign())
    assert read_confirmation(place, ECHO, 7).signature == (place.path.parent / "S1").read_bytes()
    monkeypatch.setattr(intake, "SIGNER_S", 0.05)
    for command in ("false", "/none/such", "sleep 5", "'"):
        with pytest.raises(SignerFailed):
            read_confirmation(place, command, 7)


def test_what_is_wrong_is_seen_while_the_unit_is_there(unit: Unit, place: Source) -> None:
    folder = place.path.parent
    for signature in (Unit("S1").sign(), b"", b"\x30", bytes(64)):
        (folder / "S1.sig").write_bytes(signature)
        with pytest.raises(ConfirmationInvalid):
            read_confirmation(place, "", 7)
    (folder / "S1.sig").unlink()
    with pytest.raises(FileRefused):
        read_confirmation(place, "", 7)
    place.path.write_text(unit.certificate)
    with pytest.raises(ChainMismatch):
        read_confirmation(place, "", 7)
    with pytest.raises(DeviceUnanswered):
        read_confirmation(Source("S2", folder / "S2.readback"), "", 7)


def test_batches_keep_the_order(unit: Unit) -> None:
    def names(count: int, size: int, *orders: str) -> list[list[str]]:
        waiting = [unit.request("/out", order) for order in orders]
        return [[item.order for item in part] for part in split_batches(waiting, count, size)]

    assert names(2, 1 << 20, "a", "a", "a", "b", "a") == [["a", "a"], ["a"], ["b"], ["a"]]
    assert names(9, 1, "a", "a") == [["a"], ["a"]]
    assert names(9, 1 << 20) == []
