"""Devices and their owners, by clients that nobody here wrote: an LDevID by curl over mutual TLS, judged by openssl
with revocation lists; and a site whose CA was compromised.
"""

import asyncio
import base64
import contextlib
import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ceremonies.commands import DocumentsListed, ListCertificates
from tests.ceremonies.authorities import Authority
from tests.ceremonies.lines import Unit, check_books, code_of
from tests.ceremonies.owning import OWNED, Owner, der_of, make_owned, make_site_ca, operator, suspend
from tests.ceremonies.revoking import authority, open_copy, openssl, turn
from tests.scenarios.keyrooms import ROOT, Running
from tests.scenarios.serving import served, served_mutually
from tests.world import World, audit_world, copy_world, make_request

CONTENT = ("-H", "Content-Type: application/pkcs10")
EST = "/.well-known/est/site-ca"


class Site(NamedTuple):
    """A site with one device, whose files lie in `path`: idevid.key, idevid.pem. http: the service for people."""

    path: Path
    http: httpx.Client
    ca: Path
    world: World
    serial: str

    def post(self, verb: str, request: bytes, identity: str = "idevid") -> tuple[int, str, bytes]:
        """Status, head and body of a request by curl, with `identity`.pem as the client's certificate."""
        shown = ["--cert", f"{self.path}/{identity}.pem", "--key", f"{self.path}/{identity}.key"]
        command = ["curl", "-sS", "-i", "--http1.1", "--noproxy", "*", "--cacert", str(self.ca), *shown, *CONTENT]
        url = f"{str(self.http.base_url).rstrip('/')}{EST}/{verb}"
        done = subprocess.run(
            [*command, "--data-binary", "@-", url], input=request, capture_output=True, check=True, timeout=60
        )
        head, _, body = done.stdout.partition(b"\r\n\r\n")
        return int(head.split()[1]), head.decode(), body

    def ask_behind_proxy(self, request: bytes) -> tuple[int, bytes]:
        """Status and body of a request that a proxy hands on with the certificate (RFC 9440)."""
        der = x509.load_pem_x509_certificate((self.path / "idevid.pem").read_bytes()).public_bytes(Encoding.DER)
        given = self.world.settings()
        settings = {
            "SOCKET": given.socket, "PUBLIC_DIR": given.public, "HOST": "127.0.0.1",
            "CERTIFICATE_PROXIES": "127.0.0.1", "TRUSTED_PROXIES": "127.0.0.1",
        }  # fmt: skip
        with served(settings) as http:
            told = {"Client-Cert": f":{base64.b64encode(der).decode()}:", "X-Forwarded-For": "192.0.2.9"}
            answer = http.post(
                f"{EST}/simpleenroll", content=request, headers={"Content-Type": "application/pkcs10", **told}
            )
        return answer.status_code, answer.content

    def make_request(self, name: str) -> bytes:
        """A request by openssl with a new key in `name`.key, as EST wants it."""
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{self.path}/{name}.key"]
        command = ["openssl", "req", "-new", *key, "-subj", f"/serialNumber={self.serial}", "-outform", "DER"]
        return base64.encodebytes(subprocess.run(command, capture_output=True, check=True).stdout)

    def follow_page(self) -> None:
        """Run the commands of the page in a shell, for this device, this service and this CA."""
        page = (ROOT / "docs/fleet.md").read_text()
        (block,) = (part for part in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) if "simpleenroll" in part)
        for told, ours in (
            ("https://kedge.example", str(self.http.base_url).rstrip("/")), ("hornsea-ca", "site-ca"),
            ("BMS-0000417", self.serial), ("service.pem", str(self.ca)),
        ):  # fmt: skip
            assert told in block
            block = block.replace(told, ours)
        environment = {**os.environ, "no_proxy": "*"}
        subprocess.run(["bash", "-euo", "pipefail", "-c", block], cwd=self.path, env=environment, check=True)

    def keep(self, name: str, body: bytes) -> None:
        """Write the certificate of an answer to `name`.pem, by openssl."""
        command = ["openssl", "pkcs7", "-inform", "DER", "-print_certs", "-out", f"{self.path}/{name}.pem"]
        subprocess.run(command, input=base64.b64decode(body), capture_output=True, check=True)

    def verify(self, name: str) -> str:
        """What openssl says of `name`.pem, with the lists as they are published now."""
        for label in ("site-ca", "identity-root"):
            (self.path / f"{label}.crl").write_bytes(self.http.get(f"/crl/{label}.crl").content)
        return judge(self.path, name, "site-ca")


def judge(path: Path, name: str, ca: str) -> str:
    """What `openssl verify` says of a device's certificate, its chain, and the lists of both CAs."""
    for label in (ca, "identity-root"):
        openssl("crl", "-inform", "DER", "-in", f"{label}.crl", "-out", f"{label}.crl.pem", cwd=path)
    lists = [item for label in (ca, "identity-root") for item in ("-CRLfile", f"{label}.crl.pem")]
    done = openssl(
        "verify", "-crl_check_all", "-x509_strict", "-CAfile", "identity-root.pem", "-untrusted", f"{ca}.pem", *lists,
        f"{name}.pem", cwd=path,
    )  # fmt: skip
    return done.stdout + done.stderr


async def build(world: World, path: Path) -> str:
    """A unit that was built, with its key and certificate in files, and the CAs. Returns its serial."""
    unit = Unit(1)
    issued = await unit.issue(world)
    await unit.confirm(world)
    (path / "idevid.pem").write_bytes(issued.certificate)
    (path / "idevid.key").write_bytes(unit.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    listed = await world.ask(ListCertificates(), "", DocumentsListed)
    for name, _, pem in listed.documents:
        (path / f"{name}.pem").write_bytes(pem)
    return unit.serial


@pytest.fixture
def site(hsm_template: World, tmp_path: Path) -> Iterator[Site]:
    """A keyroom and an API as processes, and a device that was built and is on its way."""
    world = copy_world(hsm_template, tmp_path / "world")
    world.start()
    serial = asyncio.run(build(world, tmp_path))
    world.stop()
    trusted = ("device-ca", "site-ca", "identity-root")
    (tmp_path / "clients.pem").write_bytes(b"".join((tmp_path / f"{name}.pem").read_bytes() for name in trusted))
    tls = Authority(tmp_path / "ca")
    with contextlib.ExitStack() as stack:
        running = Running(world, "keyroom-1")
        stack.callback(running.end)
        running.wait_for("keyroom is up")
        http = stack.enter_context(served_mutually(world, tls, tmp_path / "clients.pem"))
        yield Site(tmp_path, http, tls.ca, world, serial)


@pytest.mark.req("CA-11", "AZ-5")
def test_a_device_gets_and_renews_its_ldevid_by_curl(site: Site) -> None:
    first = site.make_request("first")
    status, head, _ = site.post("simpleenroll", first)
    assert status == 202
    assert re.search(r"(?mi)^retry-after: 600\r?$", head)
    placed = [
        {"act": "ship", "serial": site.serial},
        {"act": "install", "serial": site.serial, "operator": "north-power", "site": OWNED},
    ]
    said = site.http.post(
        "/v1/fleet/statements",
        json={"statements": placed},
        headers={"Authorization": f"Bearer {operator(site.world)}", "Idempotency-Key": "installation-1"},
    )
    assert [verdict["state"] for verdict in said.json()["verdicts"]] == ["shipped", "installed"]
    status, _, body = site.post("simpleenroll", first)
    assert (status, site.post("simpleenroll", first)[2]) == (200, body)
    site.keep("first", body)
    wait_for(site, "first", "first.pem: OK")
    assert site.ask_behind_proxy(first) == (200, body)

    # Another key, by the LDevID itself: the one before ends.
    status, _, body = site.post("simplereenroll", site.make_request("second"), "first")
    assert status == 200, body
    site.keep("second", body)
    wait_for(site, "first", "certificate revoked")
    assert "second.pem: OK" in site.verify("second")
    assert json.loads(site.post("simplereenroll", first, "first")[2])["code"] == "device-revoked"

    # What docs/fleet.md tells device makers, as it stands; the device has its IDevID still.
    site.follow_page()
    assert "ldevid.pem: OK" in site.verify("ldevid")

    # An officer revokes the IDevID: the device is nobody from the next request on, and its LDevID ends, too.
    headers = {"Authorization": f"Bearer {site.world.role_token('officer')}"}
    stolen = {"serial": site.serial, "reason": "keyCompromise", "why": "stolen"}
    assert site.http.post("/v1/revocations", json=stolen, headers=headers).status_code == 201
    for identity in ("idevid", "ldevid"):
        status, _, body = site.post("simpleenroll", first, identity)
        assert (status, json.loads(body)["code"]) == (401, "device-revoked")
    wait_for(site, "ldevid", "certificate revoked")
    assert "certificate revoked" in site.verify("second")


def wait_for(site: Site, name: str, words: str) -> None:
    """Wait until the published lists lead openssl to say something."""
    until = time.monotonic() + 30
    while words not in (said := site.verify(name)):
        assert time.monotonic() < until, said
        time.sleep(0.5)


@pytest.mark.req("KL-9", "CA-9")
def test_after_a_compromise_of_the_sites_ca_devices_rebind(factory_template: World, tmp_path: Path) -> None:
    """What the CA issued is revoked by the ceremony that selects by key, then its own; another CA serves the site."""
    world, watch = open_copy(factory_template, tmp_path / "world")
    owner = Owner(world, asyncio.run(make_owned(world)), watch)
    old = asyncio.run(owner.enrol())
    plan = {"reason": "cACompromise", "why": "incident 7"}
    number = f"{authority(world, 'site-ca').serial_number:x}"
    asyncio.run(world.ceremony("end-devices", "revoke", plan | {"key": "site-ca"}))
    asyncio.run(world.ceremony("end-ca", "revoke", plan | {"numbers": [number]}))
    asyncio.run(make_site_ca(world, "graz-ca-2"))
    turn(world)
    asyncio.run(suspend(world, "site-ca"))

    shown = der_of(old)
    for label, certificate, code in (
        ("graz-ca-2", shown, "device-revoked"),  # it comes with its IDevID
        ("site-ca", b"", "authority-unknown"),
        ("graz-ca-2", b"", "certificate-withdrawn"),  # and with another key
    ):
        assert code_of(asyncio.run(owner.ask(shown=certificate, authority=label))) == code
    new = asyncio.run(owner.enrol(make_request(), authority="graz-ca-2"))
    (tmp_path / "old.pem").write_bytes(old.certificate)
    (tmp_path / "new.pem").write_bytes(new.certificate)
    for label in ("site-ca", "graz-ca-2", "identity-root"):
        (tmp_path / f"{label}.crl").write_bytes((world.path / f"public/crl/{label}.crl").read_bytes())
        (tmp_path / f"{label}.pem").write_bytes(authority(world, label).public_bytes(Encoding.PEM))
    assert "new.pem: OK" in judge(tmp_path, "new", "graz-ca-2")
    assert "error 23 at 0 depth lookup: certificate revoked" in judge(tmp_path, "old", "site-ca")
    openssl("crl", "-inform", "DER", "-in", "identity-root.crl", "-out", "root.crl.pem", cwd=tmp_path)
    said = openssl(
        "verify", "-crl_check", "-CAfile", "identity-root.pem", "-CRLfile", "root.crl.pem", "site-ca.pem", cwd=tmp_path
    )
    assert "error 23 at 0 depth lookup: certificate revoked" in said.stderr
    check_books(world)
    assert asyncio.run(audit_world(world)).verdict == "authenticated"
    world.stop()
