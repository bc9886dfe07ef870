"""A shift on a line, from the order to its end, over HTTP and with `kedge work-order`: what docs/factory.md tells."""

import asyncio
import base64
import collections
import csv
import io
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ceremonies.approvals import parse_template, statement_bytes
from ceremonies.commands import BATCH_LIMIT, DeviceIssued, Proven
from tests.api.cli.running import answer, kedge
from tests.api.houses import House, open_house
from tests.ceremonies.lines import Unit, check_books
from tests.ceremonies.templates import Templates
from tests.engines import SQLITE_ONLY
from tests.world import copy_world, make_request

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "factory.md"
COUNT = BATCH_LIMIT
REPEATED = 150
PEM = {"Content-Type": "application/x-pem-file"}


@pytest.fixture
def house(templates: Templates, tmp_path: Path) -> Iterator[House]:
    """A keyroom with the work order wo-7 of 1,002 units and two permits for rework, and the API in front of it."""
    world = copy_world(templates.genesis(SQLITE_ONLY, "soft"), tmp_path / "world").start()
    asyncio.run(world.open_order("wo-7", quantity=COUNT + 2, last=2000, rework_quantity=2))
    with open_house(world) as opened:
        opened.served.http.timeout = 60
        yield opened


def post(house: House, path: str, body: object, role: str = "station") -> Any:
    response = house.send("POST", f"/v1/work-orders/wo-7/{path}", role, json=body)
    assert response.is_success, response.text
    return response.json()


def keep(unit: Unit, told: dict[str, Any]) -> None:
    """What a station keeps of an answer."""
    facts = {
        **told,
        "certificate": told["certificate"].encode(),
        "chain": told["chain"].encode(),
        "proven": Proven(0, b"", b""),
    }
    unit.device = DeviceIssued(**facts)


def confirmation(unit: Unit) -> dict[str, Any]:
    command = unit.confirmation()
    return {"chain_sha256": command.chain_sha256, "signature": encode(command.signature)}


def encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.req("CA-13", "CA-14", "T2", "T4", "T15", "T37")
@pytest.mark.unmeasured
def test_a_shift(house: House, tmp_path: Path) -> None:
    units = [Unit(number, "wo-7") for number in range(1, COUNT + 1)]
    issue_all(house, units)
    confirm_all(house, units[2:])
    supervise(house, tmp_path, units)
    follow_page(house, tmp_path)
    end(house, tmp_path, units)
    check_books(house.world)


def issue_all(house: House, units: list[Unit]) -> None:
    """A thousand requests in one call, while another station asks for one certificate; then a part of it again."""
    body = {"requests": [{"serial": unit.serial, "csr": encode(unit.request.csr)} for unit in units]}
    took: list[float] = []

    def ask_for_one() -> None:
        time.sleep(0.3)
        begun = time.monotonic()
        headers = {"Authorization": f"Bearer {house.world.role_token('station')}", **PEM}
        path = f"{house.served.url}/v1/work-orders/wo-7/devices/BMS-001500"
        assert httpx.put(path, content=make_request(), headers=headers, timeout=60).status_code == 200
        took.append(time.monotonic() - begun)

    other = threading.Thread(target=ask_for_one)
    other.start()
    begun = time.monotonic()
    results = post(house, "devices", body)["results"]
    whole = time.monotonic() - begun
    other.join()
    assert took[0] < whole / 2, f"a single request waited {took[0]:.2f} s of {whole:.2f}"
    assert [item["serial"] for item in results] == [unit.serial for unit in units]
    for unit, told in zip(units, results, strict=True):
        keep(unit, told)
    again = post(house, "devices", {"requests": body["requests"][:REPEATED]})["results"]
    assert {item["replayed"] for item in again} == {True}
    assert [item["certificate"] for item in again] == [item["certificate"] for item in results[:REPEATED]]
    shown = answer(*line(house, "operator"), "show", "wo-7")
    assert (shown["issued"], shown["used"], shown["remaining"]) == (COUNT + 1, COUNT + 1, 1)


def confirm_all(house: House, units: list[Unit]) -> None:
    """One by one and all together."""
    first = post(house, f"devices/{units[0].serial}/confirmation", confirmation(units[0]))
    assert first["replayed"] is False
    wrong = {**confirmation(units[1]), "chain_sha256": "0" * 64, "serial": units[1].serial}
    items = [{"serial": unit.serial, **confirmation(unit)} for unit in units if unit is not units[1]]
    results = post(house, "confirmations", {"confirmations": [*items, wrong]})["results"]
    assert [item.get("code", "") for item in results] == [""] * len(items) + ["chain-mismatch"]
    assert [item["serial"] for item in results if item.get("replayed")] == [units[0].serial]


def supervise(house: House, tmp_path: Path, units: list[Unit]) -> None:
    """What is missing at the shift's end; a unit gets another module, another is scrapped."""
    supervisor = line(house, "operator", tmp_path)
    told = kedge(*supervisor, "report", "wo-7", "--state", "unconfirmed")
    assert [row.split()[:2] for row in told.stdout.splitlines()] == [
        ["serial", "state"], *([f"BMS-{number:06}", "unconfirmed"] for number in (1, 2, 4, 1500)),
    ]  # fmt: skip
    assert answer(*supervisor, "rework", "wo-7", "BMS-000001", "--reason", "module replaced")["left"] == 1
    assert "2 left" not in kedge(*supervisor, "rework", "wo-7", "BMS-000001", "--reason", "again").stdout
    new = Unit(1, "wo-7")
    response = house.send(
        "PUT", "/v1/work-orders/wo-7/devices/BMS-000001", "station", content=new.request.csr, headers=PEM
    )
    keep(new, response.json())
    post(house, "devices/BMS-000001/confirmation", confirmation(new))
    assert kedge(*supervisor, "scrap", "wo-7", "BMS-000002", "--reason", "=HYPERLINK(1)").exit_code == 0
    shown = answer(*supervisor, "show", "wo-7")
    facts = ("confirmed", "unconfirmed", "scrapped", "replaced", "reworked")
    assert [shown[name] for name in facts] == [COUNT - 2, 2, 1, 1, 1]
    assert [order["work_order"] for order in answer(*supervisor, "list")["work_orders"]] == ["wo-7"]


def follow_page(house: House, path: Path) -> None:
    """Every command of docs/factory.md, in order, in a shell. It ends with the proposal to close the order."""
    for role in ("station", "operator", "officer"):
        line(house, role, path)
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 6
    script = "".join([f'kedge() {{ "{sys.executable}" -m api.cli.main "$@"; }}\n', *blocks])
    environment = {**os.environ, "KEDGE_URL": house.served.url, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"replayed":false' in done.stdout
    told = "BMS-001417: scrapped (entry"
    assert told in done.stdout
    assert "close-wo-7" in done.stdout
    assert (path / "wo-7.csv").read_text().count("\n") == COUNT + 3


def end(house: House, tmp_path: Path, units: list[Unit]) -> None:
    """The supervisor's report goes to the officers, who close the order."""
    proposed = house.send("GET", "/v1/ceremonies/close-wo-7", "officer").json()
    assert json.loads(base64.b64decode(proposed["steps"][0]["shown"]))["now"]["revoked"] == 1
    for name in ("bob", "carol"):
        decide(house, name)
    assert house.send("POST", "/v1/ceremonies/close-wo-7/steps/plan/execution", "officer").is_success
    auditor = line(house, "auditor", tmp_path)
    assert answer(*auditor, "report", "wo-7", "--format", "csv", "--out", tmp_path / "closed.csv")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "closed.csv").read_text())))
    states = collections.Counter(row["state"] for row in rows)
    assert states == {"confirmed": COUNT - 2, "scrapped": 2, "excused": 1, "revoked": 1}
    assert [row["serial"] for row in rows if row["state"] == "revoked"] == ["BMS-000004"]
    assert answer(*auditor, "report", "wo-7")["units"][-1]["serial"] == "BMS-001500"
    late = house.send("PUT", "/v1/work-orders/wo-7/devices/BMS-001999", "station", content=make_request(), headers=PEM)
    assert (late.status_code, late.json()["code"]) == (409, "work-order-closed")
    same = house.send(
        "PUT", f"/v1/work-orders/wo-7/devices/{units[9].serial}", "station", content=units[9].request.csr, headers=PEM
    )
    assert same.json()["certificate"].encode() == units[9].held.certificate


def decide(house: House, officer: str) -> None:
    """An officer signs the closing's plan."""
    step = house.send("GET", "/v1/ceremonies/close-wo-7", "officer").json()["steps"][0]
    statement = statement_bytes(parse_template(base64.b64decode(step["template"])), officer, "approve")
    body = {"statement": encode(statement), "signature": encode(house.world.officers[officer].sign(statement).encode())}
    assert house.send("POST", "/v1/ceremonies/close-wo-7/steps/plan/approvals", "officer", json=body).is_success


def line(house: House, role: str, path: Path | None = None) -> list[str]:
    """The beginning of a command line of `kedge work-order` for a role."""
    token = (path or house.world.path) / f"{role}.token"
    token.write_text(house.world.role_token(role))
    return ["work-order", "--url", house.served.url, "--token-file", str(token)]
