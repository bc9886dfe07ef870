import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.cli.errors import FileRefused
from api.cli.files import USUAL, Proven, list_files, read_file, write_below, write_file, write_proven, write_secret


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/etc/passwd",
        "../x",
        "a/../b",
        "a//b",
        "./a",
        "a/",
        ".hidden",
        "a/.b",
        "a b",
        "a\\b",
        "a\nb",
        "ä",
        "a" * 200,
    ],
)
def test_paths_that_could_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(FileRefused):
        write_below(tmp_path / "out", name, b"x")
    assert list(tmp_path.rglob("*")) == []


@given(st.text(alphabet="ab./\\-", max_size=12))
def test_what_is_written_is_below(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    directory = tmp_path_factory.getbasetemp() / "below"
    try:
        path = write_below(directory, name, b"")
    except (FileRefused, NotADirectoryError, FileExistsError):
        return
    assert path.resolve().is_relative_to(directory.resolve())


def test_another_file_is_never_written_over(tmp_path: Path) -> None:
    path = write_file(tmp_path / "a", b"one")
    assert write_file(path, b"one") == path
    with pytest.raises(FileRefused, match="another file"):
        write_file(path, b"two")
    assert path.read_bytes() == b"one"


def test_limit_and_absence_are_told(tmp_path: Path) -> None:
    path = write_file(tmp_path / "a", b"four")
    assert read_file(path, 4) == b"four"
    with pytest.raises(FileRefused, match="more than 3"):
        read_file(path, 3)
    with pytest.raises(FileRefused, match="No such file"):
        read_file(tmp_path / "b", 3)


@pytest.mark.parametrize("size", [USUAL - 1, USUAL, USUAL + 1, 3 * USUAL])
def test_files_of_any_size_are_read_whole(tmp_path: Path, size: int) -> None:
    path = write_file(tmp_path / "a", bytes(size))
    assert read_file(path, size) == bytes(size)
    with pytest.raises(FileRefused, match="more than"):
        read_file(path, size - 1)


def test_files_are_listed_and_links_are_refused(tmp_path: Path) -> None:
    paths = ["checkpoint", "tile/0/000", "blob/ab/abcd"]
    for path in paths:
        write_below(tmp_path, path, b"x")
    assert sorted(list_files(tmp_path)) == sorted(paths)
    (tmp_path / "tile" / "link").symlink_to(tmp_path / "blob")
    with pytest.raises(FileRefused, match="a link or no file"):
        list(list_files(tmp_path))
    with pytest.raises(FileRefused, match="no directory"):
        list(list_files(tmp_path / "checkpoint"))


def test_entry_and_proof_keep_their_bytes(tmp_path: Path) -> None:
    leaf, proof = write_proven(tmp_path, "BMS-1", Proven(1, '{"a":"ü"}', "proof\n"))
    assert (leaf.name, proof.name) == ("BMS-1.leaf.json", "BMS-1.tlog-proof")
    assert leaf.read_bytes() == '{"a":"ü"}'.encode()
    assert proof.read_bytes() == b"proof\n"


def test_a_newer_proof_of_the_same_entry_replaces_the_older(tmp_path: Path) -> None:
    write_proven(tmp_path, "BMS-1", Proven(1, "{}", "proof at 10\n"))
    _, proof = write_proven(tmp_path, "BMS-1", Proven(1, "{}", "proof at 20\n"))
    assert proof.read_bytes() == b"proof at 20\n"
    with pytest.raises(FileRefused, match="another file"):
        write_proven(tmp_path, "BMS-1", Proven(2, "[]", "proof at 30\n"))
    assert proof.read_bytes() == b"proof at 20\n"


def test_a_secret_is_for_its_owner_and_replaces_an_earlier_one(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("open to all")
    for content in (b"one", b"two"):
        write_secret(tmp_path / "a", content)
        assert (tmp_path / "a").read_bytes() == content
        assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600
