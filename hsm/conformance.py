"""The conformance suite: what a token can do, step by step, in a process of its own (`hsm.examination` starts it).

A library that crashes or hangs takes this process with it; the other side has read every finding before that.
"""

import os
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import BinaryIO, Final

import msgspec

from hsm.algorithms import ALGORITHMS, Algorithm
from hsm.drills import Recipe, draw_random, drill_ids, drill_memos, drill_sessions, drill_threads
from hsm.errors import HsmError
from hsm.findings import Finding, Grade
from hsm.module import Module
from hsm.templates import private_template, public_template
from hsm.trials import measure_generation, try_algorithm
from hsm.visits import MARK, Task, Visit

CLEAN: Final = "clean"


class Begun(msgspec.Struct, frozen=True, tag="begun"):
    """A step has begun: what hangs or crashes now is in it."""

    step: str


class Found(msgspec.Struct, frozen=True, tag="found"):
    """A finding."""

    finding: Finding


Said = Begun | Found


def examine(task: Task, begin: Callable[[str], None]) -> Generator[Finding, None, None]:
    """Every step on one token. `begin` is told each step's name before it starts."""
    begin("open")
    locking, findings = _load(task)
    yield from findings
    if locking is None:
        return
    try:
        try:
            visit = Visit(task, locking)
        except HsmError as error:
            yield Finding("token", Grade.FAILING, error.message + (f"; {error.hint}" if error.hint else ""))
            return
        yield from _visit(visit, begin)
    finally:
        locking.finalise()


def clean_up(task: Task) -> Iterator[Finding]:
    """What a visit that crashed has left, removed."""
    module = Module(task.module, parameters=task.parameters)
    try:
        count = Visit(task, module).clean(whose=MARK)
        yield Finding("clean-up", Grade.WELL, f"{count} objects of the crashed examination removed")
    except HsmError as error:
        yield Finding("clean-up", Grade.FAILING, f"objects may be left (CKA_ID {MARK.hex()}...): {error.message}")
    finally:
        module.finalise()


def _load(task: Task) -> tuple[Module | None, list[Finding]]:
    """The library, with locking by the operating system if it can do that."""
    try:
        module = Module(task.module, os_locking=True, parameters=task.parameters)
        said = f"{module.description.strip()}; locks by the operating system"
        return module, [Finding("module", Grade.WELL, said, {"os_locking": True})]
    except HsmError as error:
        if error.rv != "CKR_CANT_LOCK":
            return None, [Finding("module", Grade.FAILING, f"{error.message}; {error.hint}")]
    module = Module(task.module, parameters=task.parameters)
    said = f"{module.description.strip()}; CKR_CANT_LOCK: one thread only"
    return module, [Finding("module", Grade.WARNING, said, {"os_locking": False})]


def _visit(visit: Visit, begin: Callable[[str], None]) -> Iterator[Finding]:
    token = visit.session.token
    serial = token.serial.decode("ascii", "replace").strip()
    said = f"{token.manufacturer_id.strip()} {token.model.strip()}, serial {serial}, logged in"
    yield Finding("token", Grade.WELL, said)
    if not serial.strip("0"):
        yield Finding("serial", Grade.WARNING, f"{serial or 'empty'}: two such tokens are not told apart")
    if left := visit.clean(whose=MARK):
        yield Finding("leftovers", Grade.WARNING, f"{left} objects of an earlier examination removed")
    try:
        yield from _steps(visit, begin)
    finally:
        begin(CLEAN)
        visit.clean()


def _steps(visit: Visit, begin: Callable[[str], None]) -> Iterator[Finding]:
    with visit.seat.calling("C_GetMechanismList", "slot"):
        mechanisms = {int(item) for item in visit.session.token.slot.get_mechanisms()}
    begin("random")
    yield draw_random(visit)
    recipe: Recipe | None = None
    for name, algorithm in ALGORITHMS.items():
        begin(name)
        refused: list[str] = []
        signs = False
        for finding in try_algorithm(visit, algorithm, mechanisms):
            refused = finding.figures.get("refused", refused)
            signs |= finding.check == f"{name} sign" and finding.grade is Grade.WELL
            yield finding
        if signs and recipe is None:
            recipe = write_recipe(algorithm, refused)
    begin("sessions")
    yield from drill_sessions(visit)
    begin("data objects")
    yield from drill_memos(visit)
    if recipe is None:
        yield Finding("drills", Grade.UNKNOWN, "no algorithm signs: nothing to drill with")
        return
    begin("generation")
    yield measure_generation(visit, *recipe)
    begin("ids")
    yield from drill_ids(visit, recipe)
    if visit.task.threads > 1:
        begin("parallel")
        yield drill_threads(visit, recipe)


def write_recipe(algorithm: Algorithm, refused: list[str]) -> Recipe:
    """The templates without what the token refuses."""
    public = {a: v for a, v in public_template(algorithm).items() if f"public CKA_{a.name}" not in refused}
    private = {a: v for a, v in private_template().items() if f"private CKA_{a.name}" not in refused}
    return algorithm, (public, private)


@contextmanager
def _own_output() -> Iterator[BinaryIO]:
    """Standard output for findings alone: what the library prints goes to standard error."""
    with os.fdopen(os.dup(1), "wb", buffering=0) as output:
        os.dup2(2, 1)
        yield output


def main() -> None:
    """Read a task from standard input, write what is said as JSON lines. The argument `clean` only removes."""
    task = msgspec.json.decode(sys.stdin.buffer.read(), type=Task, dec_hook=lambda kind, value: kind(value))
    with _own_output() as output:

        def say(said: Said) -> None:
            output.write(msgspec.json.encode(said) + b"\n")

        steps = clean_up(task) if CLEAN in sys.argv[1:] else examine(task, lambda step: say(Begun(step)))
        for finding in steps:
            say(Found(finding))


if __name__ == "__main__":
    main()
