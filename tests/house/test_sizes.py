"""Files of 300 lines, functions of 40 lines and 5 parameters, blocks 3 deep: more of it is two nouns or two verbs."""

import ast
from pathlib import Path

from tests.house.sources import ROOMS, functions, modules, place

FILE_LINES = 300
FUNCTION_LINES = 40
PARAMETERS = 5
NESTING = 3

# A migration lists the columns of its tables, one a line, and is never edited again.
VERSIONS = "ceremonies/migrations/versions/"

Function = ast.FunctionDef | ast.AsyncFunctionDef
BLOCKS = ast.If | ast.For | ast.AsyncFor | ast.While | ast.With | ast.AsyncWith | ast.Try | ast.TryStar | ast.Match


def count_lines(function: Function) -> int:
    """Lines from `def` to the end, without the docstring: nobody should save words about a verification's steps."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function, clean=False) is not None:
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def count_parameters(function: Function) -> int:
    """All parameters but `self` and `cls`."""
    spec = function.args
    names = [argument.arg for argument in (*spec.posonlyargs, *spec.args, *spec.kwonlyargs)]
    return len([name for name in names if name not in {"self", "cls"}]) + bool(spec.vararg) + bool(spec.kwarg)


def measure_nesting(node: ast.AST) -> int:
    """How many blocks stand inside each other; `elif` is no deeper than its `if`, a nested function starts anew."""
    deepest = 0
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function | ast.ClassDef):
            continue
        is_elif = isinstance(node, ast.If) and isinstance(child, ast.If) and node.orelse == [child]
        deepest = max(deepest, measure_nesting(child) + (isinstance(child, BLOCKS) and not is_elif))
    return deepest


def _sources() -> list[Path]:
    return modules(*ROOMS, "tools")


def test_files_are_short() -> None:
    long = {place(path): len(path.read_text(encoding="utf-8").splitlines()) for path in _sources()}
    assert {name: lines for name, lines in long.items() if lines > FILE_LINES} == {}


def test_functions_are_short() -> None:
    found = {
        f"{place(path, function.lineno)} {function.name}": count_lines(function)
        for path in _sources()
        if not place(path).startswith(VERSIONS)
        for function in functions(path)
    }
    assert {name: lines for name, lines in found.items() if lines > FUNCTION_LINES} == {}


def test_functions_have_few_parameters() -> None:
    found = {
        f"{place(path, function.lineno)} {function.name}": count_parameters(function)
        for path in _sources()
        for function in functions(path)
    }
    assert {name: count for name, count in found.items() if count > PARAMETERS} == {}


def test_blocks_are_shallow() -> None:
    found = {
        f"{place(path, function.lineno)} {function.name}": measure_nesting(function)
        for path in _sources()
        for function in functions(path)
    }
    assert {name: depth for name, depth in found.items() if depth > NESTING} == {}


def _only_function(source: str) -> Function:
    node = ast.parse(source).body[0]
    assert isinstance(node, Function)
    return node


def test_measures() -> None:
    assert count_lines(_only_function('def f() -> None:\n    """One\n    two."""\n    a = 1\n    b = 2\n')) == 3
    assert count_parameters(_only_function("def f(self, a, /, b, *c, d, **e): ...")) == 5
    flat = "def f(a):\n if a:\n  x()\n elif b:\n  x()\n elif c:\n  x()\n"
    deep = "def f(a):\n for b in a:\n  if b:\n   with b:\n    try:\n     x()\n    finally:\n     y()\n"
    assert measure_nesting(_only_function(flat)) == 1
    assert measure_nesting(_only_function(deep)) == 4
