"""CMP with `openssl cmp` as the client that nobody here wrote, against a keyroom and an API as processes."""

import asyncio
import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ceremonies.commands import DocumentsListed, ListCertificates
from pki.x509.der import read_children, read_whole
from tests.ceremonies.examples import read_leaves
from tests.ceremonies.lines import Unit
from tests.ceremonies.messaging import prepare
from tests.ceremonies.owning import OWNED, der_of, operator
from tests.pki.cmp.writing import Sender, make_sender
from tests.scenarios.keyrooms import Running
from tests.scenarios.serving import served
from tests.world import World, audit_world, copy_world

PATH = ".well-known/cmp/p/device-ca"


class Client(NamedTuple):
    """Where openssl works: its files, the service, and what is behind it."""

    path: Path
    server: str
    http: httpx.Client
    world: World
    running: Running
    serial: str

    def openssl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run openssl."""
        command = ["openssl", *arguments]
        return subprocess.run(command, cwd=self.path, capture_output=True, text=True, check=False, timeout=60)

    def key(self, name: str) -> str:
        """A new key for a device; the file."""
        self.openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f"{name}.key")
        return f"{name}.key"

    def cmp(self, command: str, *arguments: str, signer: str = "station") -> subprocess.CompletedProcess[str]:
        """One transaction. Answers must be signed below the identity root, but for errors."""
        asked = ("-cmd", command, "-server", self.server, "-no_proxy", "*", "-path", PATH, *arguments)
        own = ("-cert", f"{signer}.pem", "-key", f"{signer}.key") if signer else ()
        return self.openssl("cmp", *asked, *own, "-trusted", "identity-root.pem", "-unprotected_errors")

    def do(self, command: str, *arguments: str, signer: str = "station") -> str:
        """A transaction that must succeed, protected in both directions; what openssl said."""
        done = self.cmp(command, *arguments, signer=signer)
        assert done.returncode == 0, done.stderr
        assert "missing protection" not in done.stderr
        return done.stdout + done.stderr

    def fail(self, command: str, *arguments: str, signer: str = "station") -> str:
        """A transaction that must fail; what openssl said."""
        done = self.cmp(command, *arguments, signer=signer)
        assert done.returncode != 0
        return done.stdout + done.stderr

    def verifies(self, name: str, ca: str = "device-ca") -> bool:
        """Whether openssl verifies a certificate below the identity root."""
        given = ("-CAfile", "identity-root.pem", "-untrusted", f"{ca}.pem", f"{name}.pem")
        return self.openssl("verify", *given).returncode == 0

    def same(self, one: str, other: str) -> bool:
        """Whether two files are the same."""
        return (self.path / one).read_bytes() == (self.path / other).read_bytes()


async def write_authorities(world: World, path: Path) -> Unit:
    """A responder, a station and a device that was built, and the CAs: keys and certificates in files."""
    station, unit = await prepare(world), Unit(9)
    await unit.issue(world)
    await unit.confirm(world)
    write_sender(path / "station", station)
    write_sender(path / "idevid", Sender(unit.key, der_of(unit.held)))
    listed = await world.ask(ListCertificates(), "", DocumentsListed)
    for name, _, document in listed.documents:
        (path / f"{name}.pem").write_bytes(document)
    return unit


def write_sender(path: Path, sender: Sender) -> None:
    """A key and its certificate, in `path`.key and `path`.pem."""
    path.with_suffix(".pem").write_bytes(sender.parsed.public_bytes(Encoding.PEM))
    path.with_suffix(".key").write_bytes(sender.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


@pytest.fixture
def client(hsm_template: World, tmp_path: Path) -> Iterator[Client]:
    """A keyroom and an API as processes, a station that has a certificate, and a device that was built."""
    world, path = copy_world(hsm_template, tmp_path / "world"), tmp_path / "station"
    path.mkdir()
    world.start()
    unit = asyncio.run(write_authorities(world, path))
    world.stop()
    settings = {"SOCKET": world.settings().socket, "PUBLIC_DIR": world.settings().public, "HOST": "127.0.0.1"}
    with contextlib.ExitStack() as stack:
        running = Running(world, "keyroom-1")
        stack.callback(running.end)
        running.wait_for("keyroom is up")
        http = stack.enter_context(served(settings))
        yield Client(path, f"{http.base_url.host}:{http.base_url.port}", http, world, running, unit.serial)


def enrol(serial: str, key: str, out: str) -> tuple[str, ...]:
    """The options of a request."""
    return ("-newkey", key, "-subject", f"/serialNumber={serial}", "-certout", f"{out}.pem")


def list_certificates(path: Path) -> list[x509.Certificate]:
    """The certificates in a genp with caCerts."""
    der = path.read_bytes()
    body = read_children(der, read_whole(der, 0x30))[1]
    items = read_children(der, read_children(der, read_children(der, body)[0])[0])
    value = read_children(der, items[1])
    return [x509.load_der_x509_certificate(der[item[1] : item[3]]) for item in value]


def follow_device(client: Client) -> None:
    """A device's life with CMP: it waits, is placed, has an LDevID, renews it, gives it up."""
    name, path = f"/serialNumber={client.serial}", ("-path", ".well-known/cmp/p/site-ca")
    first, second = client.key("ldevid"), client.key("next")

    def ask(key: str, out: str) -> tuple[str, ...]:
        return (*path, "-newkey", key, "-subject", name, "-certout", f"{out}.pem")

    said = client.fail("ir", *ask(first, "ldevid"), signer="idevid")
    assert 'notAuthorized; StatusString: "enrolment-pending' in said
    placed = [
        {"act": "ship", "serial": client.serial},
        {"act": "install", "serial": client.serial, "operator": "north-power", "site": OWNED},
    ]
    headers = {"Authorization": f"Bearer {operator(client.world)}", "Idempotency-Key": "installation-1"}
    said_so = client.http.post("/v1/fleet/statements", json={"statements": placed}, headers=headers)
    assert [verdict["state"] for verdict in said_so.json()["verdicts"]] == ["shipped", "installed"]

    said = client.do("ir", *ask(first, "ldevid"), signer="idevid")
    assert "received PKICONF" in said
    assert client.verifies("ldevid", "site-ca")
    client.do("cr", *ask(first, "again"), "-implicit_confirm", signer="idevid")
    assert client.same("ldevid.pem", "again.pem")

    # Signed by the LDevID to be updated, its confirmation, too; from then on it counts no more.
    said = client.do("kur", *path, "-newkey", second, "-certout", "next.pem", signer="ldevid")
    assert all(words in said for words in ("received KUP", "sending CERTCONF", "received PKICONF"))
    assert client.verifies("next", "site-ca")
    said = client.fail("cr", *ask(client.key("other"), "other"), signer="ldevid")
    assert 'certRevoked; StatusString: "device-revoked' in said
    update = ("kur", *path, "-newkey", "other.key", "-oldcert", "next.pem", "-certout", "other.pem")
    said = client.fail(*update, signer="idevid")  # just after a start: it might be an earlier message, said again
    assert 'systemUnavail; StatusString: "enrolment-under-way' in said
    client.do(*update, signer="next")
    said = client.do("rr", *path, "-oldcert", "other.pem", "-revreason", "1", signer="other")
    assert "revocation accepted" in said


@pytest.mark.req("CA-11", "CA-14", "AZ-4")
def test_openssl_as_client(client: Client) -> None:
    first, second = client.key("first"), client.key("second")

    # ir with certConf, cr without, p10cr; the answer to the same key is the same certificate.
    said = client.do("ir", *enrol("BMS-000001", first, "ir"))
    assert all(words in said for words in ("received IP", "sending CERTCONF", "received PKICONF"))
    assert client.verifies("ir")
    assert "CERTCONF" not in client.do("cr", *enrol("BMS-000001", first, "cr"), "-implicit_confirm")
    client.openssl("req", "-new", "-key", first, "-subj", "/serialNumber=BMS-000001", "-out", "first.csr")
    client.do("p10cr", "-csr", "first.csr", "-certout", "p10cr.pem")
    assert client.same("ir.pem", "cr.pem")
    assert client.same("ir.pem", "p10cr.pem")

    # kur: the same key gets the same, another one needs a permit.
    client.do("kur", "-newkey", first, "-oldcert", "ir.pem", "-certout", "kur.pem")
    assert client.same("ir.pem", "kur.pem")
    said = client.fail("kur", "-newkey", second, "-oldcert", "ir.pem", "-certout", "other.pem")
    assert 'PKIFailureInfo: duplicateCertReq; StatusString: "serial-taken' in said

    # Refused as everywhere.
    said = client.fail("ir", *enrol("BMS-000002", first, "other"))
    assert 'duplicateCertReq; StatusString: "key-known' in said
    said = client.fail("ir", *enrol("BMS-999999", second, "other"))
    assert 'notAuthorized; StatusString: "serial-not-in-order' in said

    # genm; rr, which openssl's own verification sees in the list (tests/scenarios/test_certificate_status.py).
    client.do("genm", "-infotype", "caCerts", "-rspout", "genp.der")
    names = [item.subject.rfc4514_string() for item in list_certificates(client.path / "genp.der")]
    assert names == ["CN=Acme Device CA G1,O=Acme Storage", "CN=Acme Identity Root G1,O=Acme Storage"]
    client.do("ir", *enrol("BMS-000003", second, "taken-back"))
    assert "revocation accepted" in client.do("rr", "-oldcert", "taken-back.pem", "-revreason", "4")

    # A device signs for itself only. Whom nobody knows: a certificate of somebody else's, and a password.
    said = client.fail("ir", *enrol("BMS-000004", second, "other"), signer="idevid")
    assert 'notAuthorized; StatusString: "binding-mismatch' in said
    write_sender(client.path / "stranger", make_sender())
    said = client.fail("ir", *enrol("BMS-000004", second, "other"), signer="stranger")
    assert 'signerNotTrusted; StatusString: "client-certificate-unknown' in said
    said = client.fail("ir", *enrol("BMS-000004", second, "other"), "-ref", "a", "-secret", "pass:a", signer="")
    assert 'badMessageCheck; StatusString: "message-unprotected' in said

    follow_device(client)

    # What the journal has of it all, once the processes have ended.
    client.running.end()
    world = client.world.start()
    try:
        report = asyncio.run(audit_world(world))
        leaves = read_leaves(world)
    finally:
        world.stop()
    assert (report.verdict, report.open) == ("authenticated", 0)
    (counted,) = [leaf["op"]["what"] for leaf in leaves if leaf["type"] == "certificate.message"]
    assert counted["responders"] == [
        {"label": "cmp-1", "certConf": 7, "cr": 2, "genm": 1, "ir": 7, "kur": 5, "p10cr": 1, "rr": 2}
    ]
    revoked = [leaf["op"]["what"] for leaf in leaves if leaf["type"] == "certificate.revoke"]
    assert [(what["serial"], what["reason"], what.get("station", "")) for what in revoked] == [
        ("BMS-000003", "superseded", "graz-3-a"), (client.serial, "superseded", ""), (client.serial, "superseded", ""),
        (client.serial, "keyCompromise", ""),
    ]  # fmt: skip
    released = [(leaf["op"]["what"], leaf["actor"]) for leaf in leaves if leaf["type"] == "key.sign.outcome"]
    issued = [(what["serial"], actor["sub"]) for what, actor in released if actor["role"] in ("station", "device")]
    ldevids = [(client.serial, client.serial)] * 3
    assert issued[1:] == [("BMS-000001", "graz-3-a"), ("BMS-000003", "graz-3-a"), *ldevids]
