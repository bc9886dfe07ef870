"""Every module has its own test file in the mirrored place."""

from pathlib import Path

import pytest

from tests.house.sources import ROOMS, ROOT, modules, place

# Nothing but this goes without a test file of its own: what a room's door sign says, and what a database once became
# (tests/ceremonies/test_store.py runs the migrations).
EXEMPT_NAMES = {"__init__.py", "__main__.py"}
EXEMPT_FOLDERS = ("ceremonies/migrations/",)


def mirror(module: str) -> str:
    """`pki/log/merkle.py` -> `tests/pki/log/test_merkle.py`."""
    path = Path(module)
    return (Path("tests") / path.parent / f"test_{path.name}").as_posix()


def test_every_module_has_its_test_file() -> None:
    names = [place(path) for path in modules(*ROOMS) if path.name not in EXEMPT_NAMES]
    missing = [
        f"{name} lacks {mirror(name)}"
        for name in names
        if not name.startswith(EXEMPT_FOLDERS) and not (ROOT / mirror(name)).is_file()
    ]
    assert missing == []


@pytest.mark.parametrize(
    ("module", "test"),
    [("pki/log/merkle.py", "tests/pki/log/test_merkle.py"), ("api/app.py", "tests/api/test_app.py")],
)
def test_mirror(module: str, test: str) -> None:
    assert mirror(module) == test


def test_every_test_folder_is_a_package() -> None:
    """Two test files of one name in two folders need packages around them."""
    folders = {path.parent for path in modules("tests")}
    assert [place(folder) for folder in sorted(folders) if not (folder / "__init__.py").is_file()] == []
