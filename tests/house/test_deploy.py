"""Units, compose file, alert rules: read by the programs they are for where those are here, else by their structure."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.house.sources import ROOT

UNITS = sorted((ROOT / "deploy" / "systemd").glob("*.service"))
RULES = ROOT / "deploy" / "prometheus" / "kedge.rules.yml"
COMPOSE = ROOT / "deploy" / "compose.yaml"
HARDENED = {
    "NoNewPrivileges": "yes", "ProtectSystem": "strict", "ProtectHome": "yes", "PrivateTmp": "yes",
    "PrivateDevices": "yes", "CapabilityBoundingSet": "", "RestrictSUIDSGID": "yes", "LimitCORE": "0",
    "RestrictNamespaces": "yes", "SystemCallArchitectures": "native", "ProtectProc": "invisible",
}  # fmt: skip


def read_unit(path: Path) -> dict[str, list[str]]:
    """Values by name, in order; sections together, for no name stands in two of them."""
    found: dict[str, list[str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith(("#", "[")):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def read_yaml(path: Path) -> Any:
    """YAML as the tools' Python reads it."""
    program = "import json, sys, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1]))))"
    command = [str(ROOT / ".tools/py/bin/python"), "-c", program, str(path)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.req("T12")
def test_three_units_three_users() -> None:
    assert [path.stem for path in UNITS] == ["kedge-api", "kedge-keyroom", "kedge-witness"]
    assert {read_unit(path)["User"][0] for path in UNITS} == {"kedge-api", "kedge-keyroom", "kedge-witness"}


@pytest.mark.req("T12", "T28")
@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_units_are_hardened(path: Path) -> None:
    unit = read_unit(path)
    assert {name: unit.get(name, ["absent"])[0] for name in HARDENED} == HARDENED
    assert unit["SystemCallFilter"] == ["@system-service", "~@privileged @resources"]
    assert unit["Restart"] == ["on-failure"]
    assert unit["ExecStart"][0].startswith("/opt/kedge/bin/kedge ")


@pytest.mark.req("HS-5", "T28")
def test_pins_come_as_credentials_and_only_to_the_keyroom() -> None:
    units = {path.stem: read_unit(path) for path in UNITS}
    assert len(units["kedge-keyroom"]["LoadCredential"]) == 2
    assert [stem for stem in units if "LoadCredential" in units[stem]] == ["kedge-keyroom"]
    copies = units["kedge-keyroom"]["ExecStartPre"]
    assert copies[0].endswith("install -d -m 0700 ${RUNTIME_DIRECTORY}/pins")
    assert "install -m 0400" in copies[1]
    assert "/var/lib/kedge" in units["kedge-api"]["InaccessiblePaths"][0]
    assert "/etc/kedge/pins" in units["kedge-api"]["InaccessiblePaths"][0]
    assert units["kedge-keyroom"]["RestartForceExitStatus"] == ["70 71"]


@pytest.mark.req("T12", "T28")
def test_compose_gives_each_service_what_it_needs_and_nothing_else() -> None:
    compose = read_yaml(COMPOSE)
    services = compose["services"]
    assert set(services) == {"postgresql", "keyroom", "api"}
    assert [name for name, service in services.items() if "ports" in service] == ["api"]
    for name in ("keyroom", "api"):
        assert services[name]["read_only"] is True
        assert services[name]["cap_drop"] == ["ALL"]
        assert services[name]["security_opt"] == ["no-new-privileges:true"]
    assert services["keyroom"]["user"].split(":")[0] != services["api"]["user"].split(":")[0]
    mounts = {name: {volume.split(":")[0] for volume in service["volumes"]} for name, service in services.items()}
    assert mounts["api"] == {"./api", "socket", "public"}
    assert "state" in mounts["keyroom"]
    used = {volume for name in mounts for volume in mounts[name] if not volume.startswith(".")}
    assert used == set(compose["volumes"])
    assert set(compose["secrets"]) == {"database_password"}
    assert compose["networks"]["database"]["internal"] is True
    assert not re.search(r"PASSWORD:|PIN", COMPOSE.read_text(encoding="utf-8"))


def test_compose_uses_the_users_of_the_image() -> None:
    image = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    services = read_yaml(COMPOSE)["services"]
    for name, uid in (("keyroom", "10001"), ("api", "10002")):
        assert services[name]["user"].startswith(f"{uid}:")
        assert f"--uid {uid} " in image
    for target in ("/var/lib/kedge", "/run/kedge", "/srv/kedge/public"):
        assert target in image
        assert any(target in volume for volume in services["keyroom"]["volumes"])


def test_promtool_reads_the_rules() -> None:
    command = [str(ROOT / ".tools/promtool"), "check", "rules", str(RULES)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_alerts_fire_when_they_should(tmp_path: Path) -> None:
    """promtool plays series against the rules; a rule that never fires is no rule."""
    cases = {
        "KedgeKeyroomDown": ("kedge_keyroom_up", "0x10", "1m"),
        "KedgeNotReady": ("kedge_keyroom_ready", "0x10", "3m"),
        "KedgeTokenCircuitOpen": ("kedge_keyroom_circuits_open", "1x10", "3m"),
        "KedgeInventoryDiffers": ("kedge_keyroom_inventory_differences", "1x10", "1m"),
        "KedgeFeedFailing": ("kedge_keyroom_feeds_failing", "1x20", "8m"),
        "KedgeCrlLate": ("kedge_keyroom_crls_late", "1x10", "3m"),
        "KedgeQueueLong": ("kedge_keyroom_queue_length", "3000x10", "3m"),
    }
    alerts = {rule["alert"]: rule for group in read_yaml(RULES)["groups"] for rule in group["rules"]}
    tests = []
    for alert, (series, values, at) in cases.items():
        rule = alerts[alert]
        played = [{"series": series, "values": values}]
        if alert == "KedgeNotReady":
            played.append({"series": "kedge_keyroom_up", "values": "1x10"})
        expected = {"exp_labels": rule["labels"], "exp_annotations": rule["annotations"]}
        tests.append(
            {
                "interval": "30s",
                "input_series": played,
                "alert_rule_test": [
                    {"eval_time": at, "alertname": alert, "exp_alerts": [expected]},
                    {"eval_time": "0s", "alertname": alert, "exp_alerts": [expected] if "for" not in rule else []},
                ],
            }
        )
    (tmp_path / "tests.yml").write_text(json.dumps({"rule_files": [str(RULES)], "tests": tests}))
    command = [str(ROOT / ".tools/promtool"), "test", "rules", str(tmp_path / "tests.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_alerts_use_metrics_that_exist() -> None:
    text = "\n".join(
        path.read_text(encoding="utf-8") for room in ("ceremonies", "api") for path in (ROOT / room).rglob("*.py")
    )
    names = set(re.findall(r"kedge_keyroom_([a-z_]+)", RULES.read_text(encoding="utf-8")))
    # The circuits and the inventory of running tokens count under these names.
    unknown = {name for name in names if f'"{name}"' not in text and f"kedge_keyroom_{name}" not in text}
    assert unknown <= {"circuits_open", "inventory_differences"}
