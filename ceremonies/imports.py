"""Imports: a CSV file of statements on devices, approved by officers as a whole: all of its lines, or none.

The file is UTF-8 without a byte order mark, RFC 4180, with exactly the heading of `COLUMNS`; a cell that an act has no
use for is empty. Its SHA-256 stands in the plan, so that what was judged is what is done.
"""

import asyncio
import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from ceremonies import entries
from ceremonies.commands import BadLine, CheckImport, ImportChecked, Statement
from ceremonies.desk import Caller
from ceremonies.errors import KeyroomError
from ceremonies.journal import Placed
from ceremonies.plans import ImportPlan, read_plan, write_plan
from ceremonies.procedures import Action, Closing, LastWords
from ceremonies.quorums import StepOutdated
from ceremonies.registrar import Book
from ceremonies.room import Room
from ceremonies.store import Change
from ceremonies.uploads import read_artefact
from ceremonies.whereabouts import IMPORT

COLUMNS: Final = ("act", "serial", "operator", "site", "rack", "asset", "by", "reason")
SIZE_LIMIT: Final = 4 << 20
LINES_LIMIT: Final = 10_000
SHOWN_BAD: Final = 1_000


class ImportRefused(KeyroomError):
    """The file has lines that cannot be done; nothing was. `details["bad"]` names the first thousand."""

    code = "import-refused"


class Imports:
    """Looks at a file before officers are asked."""

    def __init__(self, room: Room) -> None:
        self._room = room

    async def check(self, command: CheckImport, caller: Caller) -> ImportChecked:
        """What an import would do. Raises ArtefactMissing."""
        return await asyncio.to_thread(self._check, command.file)

    def _check(self, digest: str) -> ImportChecked:
        items, bad = read_lines(read_artefact(self._room, digest))
        if not bad:
            bad = judge_lines(self._room, items)[1]
        return ImportChecked(count_acts(items), tuple(bad[:SHOWN_BAD]), len(bad))


def read_lines(data: bytes) -> tuple[list[tuple[int, Statement]], list[BadLine]]:
    """The statements with their lines, and the lines that are none. The heading is line 1."""
    if len(data) > SIZE_LIMIT:
        return [], [BadLine(0, f"the file has {len(data)} bytes, at most {SIZE_LIMIT} are allowed")]
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        return [], [BadLine(data[: error.start].count(b"\n") + 1, "not UTF-8")]
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    items: list[tuple[int, Statement]] = []
    bad: list[BadLine] = []
    line = 0
    try:
        for cells in reader:
            line += 1
            if line == 1 and tuple(cells) != COLUMNS:
                return [], [BadLine(1, f"the heading is not {','.join(COLUMNS)}")]
            if reader.line_num != line:
                return [], [*bad, BadLine(line, "a cell goes over its line")]
            if line > LINES_LIMIT + 1:
                return [], [*bad, BadLine(line, f"more than {LINES_LIMIT} lines below the heading")]
            if line > 1:
                _take_line(line, cells, items, bad)
    except csv.Error as error:
        bad.append(BadLine(line + 1, f"not RFC 4180: {error}"))
    if not items and not bad:
        bad.append(BadLine(1, "the file has no statement"))
    return items, bad


def _take_line(line: int, cells: Sequence[str], items: list[tuple[int, Statement]], bad: list[BadLine]) -> None:
    if len(cells) != len(COLUMNS):
        bad.append(BadLine(line, f"{len(cells)} cells, {len(COLUMNS)} are expected"))
        return
    fields = {name: cell for name, cell in zip(COLUMNS, cells, strict=True) if cell}
    try:
        items.append((line, msgspec.convert(fields, Statement)))
    except msgspec.ValidationError as error:
        bad.append(BadLine(line, str(error)))


def judge_lines(room: Room, items: Sequence[tuple[int, Statement]]) -> tuple[Book, list[BadLine]]:
    """Each line after those before it: what is to be written, and the lines that cannot be done."""
    book, bad = Book(room, None, [item for _, item in items]), []
    for line, item in items:
        verdict = book.judge(item)
        if verdict.code:
            bad.append(BadLine(line, f"{verdict.code}: {verdict.message}"))
    return book, bad


def count_acts(items: Sequence[tuple[int, Statement]]) -> dict[str, int]:
    """How many statements of each act."""
    return dict(sorted(Counter(str(item.__struct_config__.tag) for _, item in items).items()))


def load_import(room: Room, digest: str) -> tuple[Book, dict[str, int], bytes]:
    """The file judged as it stands now: what to write, its acts, its bytes. Raises ArtefactMissing, ImportRefused."""
    data = read_artefact(room, digest)
    items, bad = read_lines(data)
    book, unfit = judge_lines(room, items)
    bad = bad or unfit
    if bad:
        told = [f"line {item.line}: {item.why}" for item in bad[:SHOWN_BAD]]
        raise ImportRefused(
            f"{len(bad)} lines cannot be done, {told[0]}",
            hint="see all of them with `kedge fleet import FILE --dry-run`",
            details={"bad": told, "bad_count": len(bad)},
        )
    return book, count_acts(items), data


def prepare_import(room: Room, data: bytes) -> dict[str, Any]:
    """A file all of whose lines can be done. Officers see how many statements of each act."""
    plan: ImportPlan = read_plan(data, ImportPlan)
    _, acts, file = load_import(room, plan.file)
    return {"acts": acts, "content": write_plan(plan), "lines": sum(acts.values()), "size": len(file)}


def guard_import(room: Room, shown: Mapping[str, Any]) -> None:
    """Every line can still be done. Raises ImportRefused."""
    load_import(room, shown["content"]["file"])


def close_import(room: Room, shown: Mapping[str, Any], closing: Closing) -> LastWords:
    """One entry that names file and approvals, one for each device; the file is kept as a blob."""
    digest = shown["content"]["file"]
    book, acts, data = load_import(room, digest)
    if acts != shown["acts"]:
        raise StepOutdated("the file is not the one that was approved", hint="propose a new ceremony")
    what = {"acts": acts, "file": digest, "reason": shown["content"]["reason"]}
    head = entries.event(IMPORT, closing.by, what, **closing.context)
    words = book.write(closing.by, {"cer": closing.ceremony})

    def changes(placed: Sequence[Placed]) -> Sequence[Change]:
        return words.changes(placed[1 : 1 + len(words.drafts)])

    return LastWords([head, *words.drafts], changes, [data])


IMPORT_ACTION = Action(prepare=prepare_import, kinds=("register-import",), close=close_import, guard=guard_import)
