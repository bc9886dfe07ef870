from pathlib import Path

import pytest

from ceremonies.lockout import Lockout
from tests.api.cli.running import kedge, refusal
from tests.ceremonies.test_process import write_settings


@pytest.mark.req("HS-5")
def test_an_operator_clears_wrong_starts_with_a_reason(tmp_path: Path) -> None:
    file = write_settings(tmp_path)
    assert refusal("unlock", "--settings", file, "--reason", "nothing there") == "nothing-locked"
    lockout = Lockout(tmp_path / "data")
    for _ in range(5):
        lockout.count_wrong()
    result = kedge("unlock", "--settings", file, "--reason", "PIN file corrected")
    assert (result.exit_code, "5 starts with a wrong PIN are cleared" in result.stdout) == (0, True)
    lockout.admit()
    assert [reason for _, _, reason in lockout.read().cleared] == ["PIN file corrected"]
    assert kedge("unlock", "--settings", file).exit_code == 2
