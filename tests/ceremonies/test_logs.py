"""The log is JSON lines, and a traceback in it shows code without values."""

import json
import subprocess
import sys

FAILING = """
import structlog
from ceremonies.logs import configure_log
configure_log()
def fail(pin):
    raise ValueError("wrong")
try:
    fail("1234-secret")
except ValueError as error:
    structlog.get_logger().error("failed", exc_info=error, token="kedge-main")
"""


def test_a_line_is_json_and_holds_no_value_of_a_variable() -> None:
    done = subprocess.run([sys.executable, "-c", FAILING], capture_output=True, text=True, timeout=60, check=True)
    (line,) = done.stderr.splitlines()
    entry = json.loads(line)
    assert (entry["event"], entry["level"], entry["token"]) == ("failed", "error", "kedge-main")
    assert "ValueError: wrong" in entry["exception"]
    assert 'pin = "1234' not in line
    assert "pin=" not in line
    assert entry["timestamp"].endswith("Z")
    assert done.stdout == ""
