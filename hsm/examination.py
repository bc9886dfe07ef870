"""Examining a token from outside: the suite runs in a process of its own, and a crash or a hang is a finding too."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from hsm.conformance import CLEAN, Begun, Found, Said
from hsm.findings import Finding, Grade
from hsm.visits import Task

STEP_S: Final = 120.0
"""The longest step; a token that needs longer is told as hanging."""

_said = msgspec.json.Decoder(Begun | Found)


def examine_token(
    task: Task, *, step_s: float = STEP_S, watch: Callable[[str], object] = lambda _: None
) -> list[Finding]:
    """Every finding on a token. `watch` is told each step as it begins.

    When the library crashes or hangs, that is the last finding, and a second process removes the keys it left.
    """
    findings: list[Finding] = []
    step = "start"
    process = _start(task)
    hung = threading.Event()
    timer = _arm(process, step_s, hung)
    for said in _read(process):
        timer.cancel()
        if isinstance(said, Begun):
            step = said.step
            watch(step)
        else:
            findings.append(said.finding)
        timer = _arm(process, step_s, hung)
    timer.cancel()
    status = process.wait()
    if status:
        why = f"no answer for {step_s:.0f} s" if hung.is_set() else f"the process of the library ended with {status}"
        findings.append(Finding(step, Grade.FAILING, f"{why} in step {step}"))
        findings += _clean(task, step_s)
    return findings


def _arm(process: "subprocess.Popen[bytes]", step_s: float, hung: threading.Event) -> threading.Timer:
    def end() -> None:
        hung.set()
        process.kill()

    timer = threading.Timer(step_s, end)
    timer.daemon = True
    timer.start()
    return timer


def _start(task: Task, *arguments: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-I", "-m", "hsm.conformance", *arguments]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    if process.stdin is not None:
        process.stdin.write(msgspec.json.encode(task, enc_hook=str))
        process.stdin.close()
    return process


def _read(process: "subprocess.Popen[bytes]") -> Iterator[Said]:
    if process.stdout is not None:
        with process.stdout:
            for line in process.stdout:
                yield _said.decode(line)


def _clean(task: Task, step_s: float) -> list[Finding]:
    process = _start(task, CLEAN)
    hung = threading.Event()
    timer = _arm(process, step_s, hung)
    findings = [said.finding for said in _read(process) if isinstance(said, Found)]
    timer.cancel()
    process.wait()
    return findings or [Finding("clean-up", Grade.UNKNOWN, "the keys of the examination could not be removed")]
