"""Names that say nothing are not used: what a thing is has a word."""

import ast
import re

import pytest

from tests.house.sources import ROOMS, modules, place, tree

BANNED = {"util", "utils", "helper", "helpers", "common", "manager", "managers", "base", "misc", "stuff"}


def words(name: str) -> set[str]:
    """The words of a snake_case or CamelCase name, in lower case."""
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("string_utils", {"string", "utils"}),
        ("KeyManager", {"key", "manager"}),
        ("SPKIBase", {"spki", "base"}),
        ("database", {"database"}),
    ],
)
def test_words(name: str, found: set[str]) -> None:
    assert words(name) == found


def test_no_module_has_a_name_that_says_nothing() -> None:
    paths = modules(*ROOMS, "tests", "tools")
    assert [place(path) for path in paths if any(words(part) & BANNED for part in (path.stem, path.parent.name))] == []


def test_no_class_has_a_name_that_says_nothing() -> None:
    found = [
        f"{place(path, node.lineno)} {node.name}"
        for path in modules(*ROOMS, "tests", "tools")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ClassDef) and words(node.name) & BANNED
    ]
    assert found == []
