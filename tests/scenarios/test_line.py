"""A shift as a line's software sees it: `kedge station` killed, cut off, refused, and going on; and the screen."""

import json
import os
import re
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from api.boards import FRESH_S
from api.cli.provisioning.logbook import read_logbook
from ceremonies.commands import LineBoardShown
from tests.api.cli.running import ROOT
from tests.scenarios.floor import Floor, standing_floor
from tests.world import World, make_request

UNITS = 150
SIGNER = """import os, sys
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key
key = load_pem_private_key(open(os.path.join(sys.argv[1], os.environ["KEDGE_SERIAL"] + ".key"), "rb").read(), None)
sys.stdout.buffer.write(key.sign(sys.stdin.buffer.read(), ec.ECDSA(SHA256())))
"""


@pytest.fixture
def floor(hsm_template: World, tmp_path: Path) -> Iterator[Floor]:
    """A floor with an order of UNITS units, and a directory `csr` with a request of each."""
    with standing_floor(hsm_template, tmp_path, UNITS) as standing:
        for number in range(1001, 1001 + UNITS):
            make_unit(tmp_path / "csr", f"BMS-{number:06}")
        yield standing


def make_unit(folder: Path, serial: str, key: ec.EllipticCurvePrivateKey | None = None) -> Path:
    """A unit's key and its request."""
    folder.mkdir(exist_ok=True)
    key = key or ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / f"{serial}.key").write_bytes(pem)
    path = folder / f"{serial}.csr"
    path.write_bytes(make_request(key))
    return path


def count_states(results: list[dict[str, Any]]) -> dict[str, int]:
    states = [item["state"] for item in results]
    return {state: states.count(state) for state in set(states)}


def act_as(floor: Floor, station: str) -> httpx.Client:
    """A client with a station's certificate."""
    context = ssl.create_default_context(cafile=str(floor.ca))
    context.load_cert_chain(floor.path / station / "certificate.pem", floor.path / station / "key.pem")
    return httpx.Client(base_url=floor.url, verify=context, trust_env=False)


def show_board(floor: Floor) -> LineBoardShown:
    """The figures that the screen shows."""
    with act_as(floor, "graz-screen") as http:
        answer = http.get("/v1/line-boards/graz")
        assert http.get("/line-boards/graz").text.count("<tr class=") == len(answer.json()["board"]["stations"])
    return msgspec.convert(answer.json()["board"], LineBoardShown)


def check_screen(floor: Floor) -> None:
    """The screen gets no certificate, and sees no other plant."""
    with act_as(floor, "graz-screen") as http:
        content, headers = make_request(), {"Content-Type": "application/x-pem-file"}
        refused = http.put("/v1/work-orders/wo-2/devices/BMS-001001", content=content, headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (403, "binding-mismatch")
        assert http.get("/line-boards/linz").json()["code"] == "binding-mismatch"


def follow_page(floor: Floor) -> None:
    """The commands of docs/stations.md, in a shell."""
    script = "".join(re.findall(r"```sh\n(.*?)```", (ROOT / "docs/stations.md").read_text("utf-8"), re.DOTALL))
    assert script.count("kedge station") == 6
    begin = f'kedge() {{ "{sys.executable}" -m api.cli.main "$@"; }}\n'
    environment = {**os.environ, "KEDGE_URL": floor.url, "KEDGE_CA": str(floor.ca), "PYTHONPATH": str(ROOT)}
    place = floor.path / "page"
    place.mkdir()
    (place / "graz-3-a").symlink_to(floor.path / "graz-3-a")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", begin + script],
        cwd=place, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 done, 0 refused, 0 waiting" in done.stdout
    assert (place / "out" / "BMS-000021.confirmed.json").exists()


@pytest.mark.req("CA-14", "AZ-4")
def test_a_shift(floor: Floor) -> None:
    out, csrs = floor.path / "out", floor.path / "csr"
    issue: list[str | Path] = ["issue", csrs, "--order", "wo-2", "--out", out, "--wait", "20"]
    book = floor.path / "graz-3-a" / "logbook"

    # The service is away: everything waits, and asking again adds nothing.
    for _ in range(2):
        assert count_states(floor.kedge(*issue[:-1], "0", status=4)) == {"sent": 100, "queued": UNITS - 100}
    assert len(read_logbook(book).items) == UNITS

    # It is back; the station is killed twice on the way, and goes on.
    with floor.serving():
        for reached in (1, 100):
            child = floor.start("resume")
            until = time.monotonic() + 60
            while len(list(out.glob("*.answer.json"))) < reached:
                assert child.poll() is None
                assert time.monotonic() < until
                time.sleep(0.005)
            child.kill()
            child.wait(30)
        floor.kedge("resume")
        assert floor.kedge("status")[0]["answered"] == UNITS
        before = {path.name: path.read_bytes() for path in out.iterdir()}
        assert len(before) == 4 * UNITS
        assert count_states(floor.kedge(*issue)) == {"answered": UNITS}
        assert {path.name: path.read_bytes() for path in out.iterdir()} == before
        board = show_board(floor)
        assert [(order.work_order, order.used) for order in board.orders] == [("wo-1", 0), ("wo-2", UNITS)]
        (station,) = board.stations
        assert (station.station, station.hour, station.unconfirmed) == ("graz-3-a", UNITS, UNITS)
        check_screen(floor)

        # Units are read back and sign.
        for path in out.glob("*.crt.pem"):
            serial = path.name.removesuffix(".crt.pem")
            (out / f"{serial}.readback").write_bytes(path.read_bytes() + (out / f"{serial}.chain.pem").read_bytes())
        (out / "BMS-001002.readback").write_bytes(b"something else")
        (floor.path / "signer.py").write_text(SIGNER)
        signer = f"{sys.executable} {floor.path}/signer.py {csrs}"
        # One process for each unit takes its time: three are enough.
        for path in sorted(out.glob("*.readback"))[3:]:
            path.unlink()
        results = floor.kedge("confirm", out, "--signer", signer, status=5)
        assert {item["serial"][-2:]: item.get("code", "") for item in results} == {
            "01": "", "02": "chain-mismatch", "03": "",
        }  # fmt: skip
        assert json.loads((out / "BMS-001003.confirmed.json").read_text())["index"] > 0

        follow_page(floor)

        # A service that nobody vouches for gets nothing; requests wait. So they do without a certificate.
        lonely = make_unit(floor.path / "lonely", "BMS-000020")
        floor.ca, known = floor.path / "stations.pem", floor.ca
        words: list[str | Path] = ["issue", lonely, "--order", "wo-1", "--out", floor.path / "rework"]
        assert count_states(floor.kedge(*words, status=1)) == {"sent": 1}
        floor.ca = known
        shown = floor.path / "graz-3-a" / "certificate.pem"
        shown.rename(shown.with_suffix(".away"))
        floor.kedge("resume", status=1)
        shown.with_suffix(".away").rename(shown)
        assert count_states(floor.kedge("resume")) == {"answered": 1}

        # A refusal blocks no other unit; a cloned key is the first thing to know.
        more = floor.path / "more"
        make_unit(more, "BMS-001001")
        refused = floor.kedge("issue", more, "--order", "wo-2", "--out", floor.path / "rework", status=5)
        assert [item["code"] for item in refused] == ["serial-taken"]
        assert floor.kedge("issue", more, "--order", "wo-2", "--out", out, status=5)[0]["code"] == "answer-in-the-way"
        make_unit(more, "BMS-000004").with_name("BMS-000003.csr").write_bytes((csrs / "BMS-001009.csr").read_bytes())
        (more / "BMS-001001.csr").unlink()
        cloned = floor.kedge("issue", more, "--order", "wo-1", "--out", floor.path / "rework", status=6)
        assert {item["serial"]: item.get("code", item["state"]) for item in cloned} == {
            "BMS-000003": "key-known", "BMS-000004": "answered",
        }  # fmt: skip

        # The station is stopped: nothing is lost.
        make_unit(more, "BMS-000005")
        officer = floor.world.role_token("officer")
        floor.kedge("suspend", "graz-3-a", "--reason", "a drill", token=officer)
        stopped = floor.kedge("issue", more / "BMS-000005.csr", "--order", "wo-1", "--out", out, status=8)
        assert count_states(stopped) == {"sent": 1}
        (standing,) = floor.kedge("status", status=4)
        assert (standing["sent"], standing["refused"]) == (1, 2)
        until = time.monotonic() + 2 * FRESH_S
        while show_board(floor).stations[0].state != "suspended":
            assert time.monotonic() < until
            time.sleep(0.2)
