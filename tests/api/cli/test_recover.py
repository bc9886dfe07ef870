from pathlib import Path

import pytest

from api.cli.steps import parse_step
from tests.api.cli.running import kedge, refusal
from tests.ceremonies.salvaging import Loss
from tests.ceremonies.templates import Templates
from tests.ceremonies.test_process import write_settings
from tests.world import copy_world


@pytest.mark.req("T26")
def test_an_operator_writes_what_officers_approve(templates: Templates, tmp_path: Path) -> None:
    loss = Loss(copy_world(templates.factory(), tmp_path / "world").start(), tmp_path)
    file = write_settings(loss.world.path)
    text = file.read_text()
    text = f"token_anchor_every_s = 0\n{text}"  # the keys of this world are soft
    file.write_text(text.replace('roster_sha256 = ""', f'roster_sha256 = "{loss.world.roster.digest}"'))
    step = loss.directory / "recovery.json"
    done = kedge("recover", "--settings", file, "--reason", "disk 3 burnt", str(step))
    assert (done.exit_code, f"kedge keyroom --recover {loss.directory}" in done.stdout) == (0, True)
    assert parse_step(step.read_bytes()).content["lost"] == {"from": loss.known, "to": loss.size}
    shown = kedge("officer", "show", str(step))
    assert (shown.exit_code, "disk 3 burnt" in shown.stdout) == (0, True)
    assert "key oem-root-1: suspended" in shown.stdout
    assert refusal("recover", "--settings", file, "--reason", "", str(tmp_path / "x")) == "recovery-refused"
    file.write_text(file.read_text().replace("token_anchor_every_s = 0\n", ""))
    # Without its token nobody knows what the newest anchor says.
    assert refusal("recover", "--settings", file, "--reason", "disk 3 burnt", str(step)).startswith("hsm-")
