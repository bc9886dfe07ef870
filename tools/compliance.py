"""Write docs/compliance.md: which tests show which requirement, read from their `req` marks.

The marks are read from the syntax tree, so that nothing has to run and the page is the same everywhere.
"""

import ast
import csv
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "compliance.md"
REQUIREMENTS = ROOT / "tools" / "requirements.csv"

HEAD = """# Which test shows which requirement

Written by `make compliance` from the `req` marks of the tests; a test compares this page with the marks.
A mark says that the test shows the requirement, or a part of it, in this program.
What depends on people, buildings and hardware is not shown by a test.
"""


def read_requirements() -> dict[str, tuple[str, str]]:
    """Priority ("P0", "P1", "P2"; empty for a threat) and title of each requirement, by its id."""
    with REQUIREMENTS.open(newline="", encoding="utf-8") as file:
        return {row["id"]: (row["priority"], row["title"]) for row in csv.DictReader(file)}


def read_marks(folder: Path = ROOT / "tests") -> dict[str, list[str]]:
    """Test names ("tests/hsm/test_module.py::test_name") by the requirement that they are marked with.

    Raises ValueError for a mark that is not `pytest.mark.req("ID", ...)` with literal strings.
    """
    marks: dict[str, list[str]] = {}
    for path in sorted(folder.rglob("test_*.py")):
        place = path.relative_to(folder.parent).as_posix()
        for name, call in _marked(ast.parse(path.read_text(encoding="utf-8"))):
            for argument in call.args:
                test = f"{place}::{name}" if name else place
                marks.setdefault(_literal(argument, place), []).append(test)
    return marks


def _literal(argument: ast.expr, place: str) -> str:
    if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
        return argument.value
    raise ValueError(f"{place}:{argument.lineno}: a requirement is named by a literal string")


def _marked(tree: ast.Module) -> Iterator[tuple[str, ast.Call]]:
    """Each `req` call with the name of the test or class that carries it, or "" for a `pytestmark`."""
    carrier: dict[ast.AST, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            carrier |= dict.fromkeys(node.decorator_list, node.name)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.req":
            yield carrier.get(node, ""), node


def render_page(requirements: dict[str, tuple[str, str]], marks: dict[str, list[str]]) -> str:
    """The page as Markdown. Raises ValueError for a mark that names no requirement."""
    unknown = sorted(set(marks) - set(requirements))
    if unknown:
        raise ValueError(f"marks name requirements that do not exist: {', '.join(unknown)}")
    shown = [name for name in requirements if name in marks]
    lines = [HEAD, "| id | | requirement or threat | shown by |", "|---|---|---|---|"]
    for name in shown:
        priority, title = requirements[name]
        tests = "<br>".join(f"`{test}`" for test in sorted(set(marks[name])))
        lines.append(f"| {name} | {priority} | {title} | {tests} |")
    lines += ["", "## Not marked by any test", ""]
    lines += [f"- {name}: {requirements[name][1]}" for name in requirements if name not in marks]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(render_page(read_requirements(), read_marks()), encoding="utf-8")
