"""docs/compliance.md says what the marks say."""

from pathlib import Path

import pytest

from tools.compliance import PAGE, read_marks, read_requirements, render_page


def test_the_page_is_current() -> None:
    """`make compliance` writes it."""
    assert PAGE.read_text(encoding="utf-8") == render_page(read_requirements(), read_marks())


def test_marks_are_read_from_functions_classes_and_modules(tmp_path: Path) -> None:
    folder = tmp_path / "tests"
    folder.mkdir()
    (folder / "test_a.py").write_text(
        'pytestmark = pytest.mark.req("KL-1")\n\n@pytest.mark.req("HS-1", "T1")\ndef test_x(): ...\n'
        '@pytest.mark.req("T1")\nclass TestY: ...\n'
    )
    assert read_marks(folder) == {
        "KL-1": ["tests/test_a.py"],
        "HS-1": ["tests/test_a.py::test_x"],
        "T1": ["tests/test_a.py::test_x", "tests/test_a.py::TestY"],
    }


def test_a_computed_mark_is_refused(tmp_path: Path) -> None:
    (tmp_path / "test_a.py").write_text("@pytest.mark.req(name)\ndef test_x(): ...\n")
    with pytest.raises(ValueError, match="literal"):
        read_marks(tmp_path)


def test_a_mark_of_no_requirement_is_refused() -> None:
    with pytest.raises(ValueError, match="HS-99"):
        render_page(read_requirements(), {"HS-99": ["tests/test_a.py::test_x"]})
