from pathlib import Path

import pytest

from api.cli.steps import parse_step
from tests.api.cli.running import kedge, refusal
from tests.ceremonies.salvaging import Loss
from tests.ceremonies.test_process import write_settings
from tests.world import World


@pytest.mark.req("T26")
def test_an_operator_writes_what_officers_approve(factory_world: World, tmp_path: Path) -> None:
    loss = Loss(factory_world, tmp_path)
    file = write_settings(loss.world.path)
    text = Path(file).read_text().splitlines()
    told = [line for line in text if not line.startswith("roster_sha256")]
    Path(file).write_text("\n".join([f'roster_sha256 = "{loss.world.roster.digest}"', *told, ""]))
    step = loss.directory / "recovery.json"
    done = kedge("recover", "--settings", file, "--reason", "disk 3 burnt", str(step))
    assert done.exit_code == 0, done.output
    assert f"lost.from: {loss.known}" in done.stdout or f"{loss.known}" in done.stdout
    assert parse_step(step.read_bytes()).content["lost"] == {"from": loss.known, "to": loss.size}
    shown = kedge("officer", "show", str(step))
    assert (shown.exit_code, "disk 3 burnt" in shown.stdout) == (0, True)
    assert refusal("recover", "--settings", file, "--reason", "", str(tmp_path / "x")) == "recovery-refused"
