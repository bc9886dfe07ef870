import subprocess
import sys
from pathlib import Path

import pytest

from ceremonies.watchdog import HUNG, OPENING_DEADLINES, Watchdog

ROOT = Path(__file__).parents[2]

WATCHED = """
import sys, time
from ceremonies.process import configure_log
from ceremonies.watchdog import Watchdog
class Box:
    in_call_since = time.monotonic() - 100 if sys.argv[1] == "hung" else None
    calls = ("token kedge-main, C_Sign",)
configure_log()
watchdog = Watchdog(0.4)
watchdog.start()
if sys.argv[1] == "opening":
    with watchdog.opening():
        time.sleep(5)
watchdog.watched = Box()
time.sleep(1.5)
"""


@pytest.mark.req("HS-9")
@pytest.mark.parametrize(
    ("state", "status", "said"), [("hung", HUNG, "C_Sign"), ("opening", HUNG, "opening the tokens"), ("idle", 0, "")]
)
def test_a_hung_call_ends_the_process(state: str, status: int, said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, state], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == status, done.stderr
    assert ("hangs" in done.stderr) == (status == HUNG)
    assert said in done.stderr


class Box:
    in_call_since: float | None = None
    calls: tuple[str, ...] = ()


def test_a_call_has_its_deadline_and_the_opening_several(monkeypatch: pytest.MonkeyPatch) -> None:
    watchdog, box = Watchdog(10.0), Box()
    assert watchdog.find_overdue(1000.0) is None
    watchdog.watched = box
    assert watchdog.find_overdue(1000.0) is None
    box.in_call_since = 995.0
    assert watchdog.find_overdue(1005.0) is None
    assert watchdog.find_overdue(1006.0) == 11.0
    box.in_call_since = None
    monkeypatch.setattr("time.monotonic", lambda: 1000.0)
    with watchdog.opening():
        assert watchdog.find_overdue(1000.0 + OPENING_DEADLINES * 10.0) is None
        assert watchdog.find_overdue(1031.0) == 31.0
    assert watchdog.find_overdue(1031.0) is None
