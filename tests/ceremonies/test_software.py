"""The digest of the software: every source file counts, compiled ones do not."""

from pathlib import Path

import pytest

from ceremonies.software import PACKAGES, software_sha256


def make_packages(path: Path) -> Path:
    """Four small packages."""
    for name in PACKAGES:
        (path / name / "sub").mkdir(parents=True)
        (path / name / "__init__.py").write_text(name)
        (path / name / "sub" / "data.mako").write_text("x")
    return path


@pytest.mark.parametrize("name", PACKAGES)
def test_any_change_of_a_source_changes_it(tmp_path: Path, name: str) -> None:
    root = make_packages(tmp_path)
    before = software_sha256(root)
    (root / name / "sub" / "data.mako").write_text("y")
    changed = software_sha256(root)
    (root / name / "sub" / "data.mako").rename(root / name / "sub" / "other.mako")
    renamed = software_sha256(root)
    (root / name / "sub" / "more.py").touch()
    assert len({before, changed, renamed, software_sha256(root)}) == 4


def test_what_the_interpreter_writes_does_not_count(tmp_path: Path) -> None:
    root = make_packages(tmp_path)
    before = software_sha256(root)
    (root / "pki" / "__pycache__").mkdir()
    (root / "pki" / "__pycache__" / "x.cpython-311.pyc").touch()
    (root / "pki" / "x.pyc").touch()
    (root / "elsewhere.py").touch()
    assert software_sha256(root) == before


def test_the_installed_software_has_a_digest() -> None:
    assert len(bytes.fromhex(software_sha256())) == 32
