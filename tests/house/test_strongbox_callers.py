"""Nobody but the door, the keyroom's composition root and doctor reaches the strongbox, by whatever kind of import."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house.sources import ROOMS, modules, place, tree

CALLERS = {"ceremonies/door.py", "ceremonies/process.py", "api/cli/doctor.py"}


def imported_rooms(module: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and top-level package of every import, at any depth, by statement or by name in a string."""
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.split(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.lineno, node.module.split(".")[0]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in {"import_module", "__import__"}:
            yield node.lineno, room_of(node.args[0] if node.args else None)


def room_of(name: ast.expr | None) -> str:
    """The top-level package of a module's name; "*" for a name whose beginning is computed, which could be any."""
    start = name.values[0] if isinstance(name, ast.JoinedStr) and name.values else name
    if not (isinstance(start, ast.Constant) and isinstance(start.value, str)):
        return "*"
    room, dot, _ = start.value.partition(".")
    return room if dot or start is name else "*"


def _importers(package: str, paths: list[Path]) -> set[str]:
    return {place(path) for path in paths for _, name in imported_rooms(tree(path)) if name in {package, "*"}}


@pytest.mark.req("HS-4", "T12")
def test_only_the_listed_callers_import_the_strongbox() -> None:
    assert _importers("hsm", modules("api", "ceremonies", "pki")) <= CALLERS


@pytest.mark.req("HS-4", "T12")
def test_only_the_strongbox_imports_pkcs11() -> None:
    assert {name.split("/")[0] for name in _importers("pkcs11", modules(*ROOMS))} <= {"hsm"}


@pytest.mark.parametrize(
    "source",
    [
        "import hsm.strongbox",
        "def f():\n    from hsm import module",
        "importlib.import_module('hsm.strongbox')",
        "__import__('hsm')",
    ],
)
def test_every_kind_of_import_is_seen(source: str) -> None:
    assert [name for _, name in imported_rooms(ast.parse(source))] == ["hsm"]


@pytest.mark.parametrize(
    ("name", "room"),
    [("name", "*"), ("f'{room}.keys'", "*"), ("f'h{rest}'", "*"), ("f'api.cli.{name}'", "api"), ("'hsm'", "hsm")],
)
def test_a_computed_import_counts_as_every_room_that_it_could_be(name: str, room: str) -> None:
    assert [found for _, found in imported_rooms(ast.parse(f"importlib.import_module({name})"))] == [room]


# Who may have a key used, and how: the door signs drafts; key work generates (with its proof of possession), destroys,
# and gives the journal's key to the signer of checkpoints. Recovery destroys what has no outcome. Tending has
# probe keys sign. Answers about one certificate, and answers of CMP, are signed by responder keys.
USES = {
    ("ceremonies/door.py", "start"),
    ("ceremonies/keywork.py", "sign"),
    ("ceremonies/keywork.py", "generate"),
    ("ceremonies/keywork.py", "destroy"),
    ("ceremonies/recovery.py", "destroy"),
    ("ceremonies/tending.py", "tend"),
    ("ceremonies/statuses.py", "sign"),
    ("ceremonies/cmp_protection.py", "sign"),
}


def key_uses(path: Path) -> Iterator[tuple[str, str]]:
    """(module, method) of each call that uses or changes a key of a strongbox, whatever the variable is called."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Attribute) and node.attr in {"sign", "start", "generate", "destroy", "tend"}:
            owner = ast.unparse(node.value)
            if owner.split(".")[-1] in {"strongbox", "tokens", "box", "_strongbox", "_circuits"}:
                yield place(path), node.attr


@pytest.mark.req("HS-4", "T12")
def test_the_closed_list_of_key_uses() -> None:
    assert {use for path in modules("api", "ceremonies") for use in key_uses(path)} == USES
