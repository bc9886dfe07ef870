"""A station from its first key to its suspension, over mutual TLS, by clients that nobody here wrote: curl, openssl."""

import asyncio
import base64
import contextlib
import json
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from ceremonies.commands import DocumentsListed, ListCertificates
from tests.api.cli.running import program
from tests.ceremonies.authorities import Authority
from tests.scenarios.keyrooms import Running
from tests.scenarios.serving import served_mutually
from tests.world import CLASS, PLANT, World, copy_world

NAME = "graz-3-a"
ORDER = "/v1/work-orders/wo-1/devices"
EST = "/.well-known/est/device-ca"


class Line(NamedTuple):
    """A factory line: where its files are, the service's URL, whom it believes, and tokens."""

    path: Path
    url: str
    ca: Path
    world: World

    def curl(self, path: str, *options: str, known: bool = True, data: bytes = b"") -> tuple[int, bytes]:
        """The status and body of a request by curl, with the station's certificate if it shall be known."""
        shown = ["--cert", f"{self.path}/certificate.pem", "--key", f"{self.path}/key.pem"] if known else []
        body = ["--data-binary", "@-"] if data else []
        command = [
            "curl",
            "-sS",
            "--noproxy",
            "*",
            "--cacert",
            str(self.ca),
            *shown,
            *body,
            *options,
            "-w",
            "%{http_code}",
        ]
        done = subprocess.run([*command, self.url + path], input=data, capture_output=True, check=True, timeout=60)
        return int(done.stdout[-3:]), done.stdout[:-3]

    def kedge(self, *arguments: str, token: str = "") -> Any:
        """`kedge station` as a program; it must succeed."""
        (self.path / "token").write_text(token)
        access = ["--token-file", f"{self.path}/token"] if token else ["--identity", str(self.path)]
        done = program("--json", "station", "--url", self.url, "--ca", self.ca, *access, *arguments)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


async def enrol(world: World, key: str) -> bytes:
    """Officers enrol the station. Returns the authorities of stations, PEM."""
    plan = {"station": NAME, "plant": PLANT, "lines": ["3"], "classes": [CLASS], "key": key}
    await world.ceremony("enrol", "station-enrol", plan)
    listed = await world.ask(ListCertificates(), "", DocumentsListed)
    return b"".join(pem for name, _, pem in listed.documents if name in ("service-ca", "identity-root"))


@pytest.fixture
def line(hsm_template: World, tmp_path: Path) -> Iterator[Line]:
    """A keyroom and an API as processes, and a station that has made its key and was enrolled."""
    made = program("--json", "station", "--identity", tmp_path / "station", "keygen")
    world = copy_world(hsm_template, tmp_path / "world")
    world.start()
    (tmp_path / "stations.pem").write_bytes(asyncio.run(enrol(world, json.loads(made.stdout)["key"])))
    world.stop()
    authority = Authority(tmp_path / "ca")
    with contextlib.ExitStack() as stack:
        running = Running(world, "keyroom-1")
        stack.callback(running.end)
        running.wait_for("keyroom is up")
        http = stack.enter_context(served_mutually(world, authority, tmp_path / "stations.pem"))
        yield Line(tmp_path / "station", str(http.base_url), authority.ca, world)


def make_csr(serial: str) -> bytes:
    """A certification request by openssl, with a key of its own, in DER."""
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "/dev/null"]
    command = ["openssl", "req", "-new", *key, "-subj", f"/serialNumber={serial}", "-outform", "DER"]
    return subprocess.run(command, capture_output=True, check=True).stdout


def read_pkcs7(body: bytes) -> bytes:
    """The certificates of a certs-only message, by openssl."""
    command = ["openssl", "pkcs7", "-inform", "DER", "-print_certs"]
    return subprocess.run(command, input=base64.b64decode(body), capture_output=True, check=True).stdout


@pytest.mark.req("AZ-4", "AZ-5", "T25", "CA-11")
def test_a_station_over_mutual_tls(line: Line) -> None:
    assert line.kedge("certify", NAME)["replayed"] is False
    assert line.kedge("certify", NAME)["replayed"] is True
    der, content = make_csr("BMS-000001"), ["-H", "Content-Type: application/pkcs10"]

    # REST: with the certificate; without it; with a header that only a proxy may send.
    status, body = line.curl(f"{ORDER}/BMS-000001", "-X", "PUT", *content, data=der)
    assert (status, json.loads(body)["serial"]) == (200, "BMS-000001")
    own = (line.path / "certificate.pem").read_text().splitlines()[1:-1]
    spoofed = ["-H", f"Client-Cert: :{''.join(own)}:"]
    for more in ([], spoofed):
        status, body = line.curl(f"{ORDER}/BMS-000001", "-X", "PUT", *content, *more, known=False, data=der)
        assert (status, json.loads(body)["code"]) == (401, "token-missing")

    # EST, by curl and openssl.
    status, body = line.curl(f"{EST}/cacerts", known=False)
    authorities = read_pkcs7(body)
    assert (status, authorities.count(b"BEGIN")) == (200, 2)
    request = base64.encodebytes(make_csr("BMS-000002"))
    status, body = line.curl(f"{EST}/simpleenroll", "-X", "POST", *content, data=request)
    assert status == 200, body
    (line.path / "device.pem").write_bytes(read_pkcs7(body))
    (line.path / "cas.pem").write_bytes(authorities)
    command = ["openssl", "verify", "-CAfile", f"{line.path}/cas.pem", f"{line.path}/device.pem"]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    assert line.curl(f"{EST}/simpleenroll", "-X", "POST", *content, data=request) == (status, body)
    assert line.curl(f"{EST}/simplereenroll", "-X", "POST", *content, data=request) == (status, body)
    unknown = base64.encodebytes(make_csr("BMS-999999"))
    assert line.curl(f"{EST}/simpleenroll", "-X", "POST", *content, data=unknown)[0] == 403
    assert line.curl(f"{EST}/simpleenroll", "-X", "POST", *content, known=False, data=request)[0] == 401

    # An officer stops it: the next request is refused, on a connection of any age.
    stopped = line.kedge("suspend", NAME, "--reason", "a drill", token=line.world.role_token("officer"))
    assert [(item["station"], item["state"]) for item in stopped["stations"]] == [(NAME, "suspended")]
    status, body = line.curl(f"{ORDER}/BMS-000001", "-X", "PUT", *content, data=der)
    assert (status, json.loads(body)["code"]) == (403, "station-suspended")


@pytest.mark.req("AZ-4")
def test_a_kept_connection_ends_nothing_later_than_a_new_one(line: Line) -> None:
    line.kedge("certify", NAME)
    context = ssl.create_default_context(cafile=str(line.ca))
    context.load_cert_chain(line.path / "certificate.pem", line.path / "key.pem")
    with httpx.Client(base_url=line.url, verify=context, trust_env=False) as http:
        headers = {"Content-Type": "application/pkcs10"}
        path, der = f"{ORDER}/BMS-000003", make_csr("BMS-000003")
        assert http.put(path, content=der, headers=headers).status_code == 200
        line.kedge("revoke", NAME, "--reason", "stolen", token=line.world.role_token("officer"))
        refused = http.put(path, content=der, headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (401, "station-revoked")
