"""CMP with `openssl cmp` as the client that nobody here wrote, against a keyroom and an API as processes."""

import asyncio
import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ceremonies.commands import DocumentsListed, ListCertificates
from pki.x509.der import read_children, read_whole
from tests.ceremonies.examples import read_leaves
from tests.ceremonies.messaging import prepare
from tests.pki.cmp.writing import Sender
from tests.scenarios.keyrooms import Running
from tests.scenarios.serving import served
from tests.world import World, audit_world, copy_world

PATH = ".well-known/cmp/p/device-ca"


class Client(NamedTuple):
    """Where openssl works: its files, the service, and what is behind it."""

    path: Path
    server: str
    world: World
    running: Running

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
        asked = ("-cmd", command, "-server", self.server, "-path", PATH, "-no_proxy", "*", *arguments)
        own = ("-cert", f"{signer}.pem", "-key", f"{signer}.key") if signer else ()
        return self.openssl("cmp", *asked, *own, "-trusted", "identity-root.pem", "-unprotected_errors")

    def do(self, command: str, *arguments: str) -> str:
        """A transaction that must succeed, protected in both directions; what openssl said."""
        done = self.cmp(command, *arguments)
        assert done.returncode == 0, done.stderr
        assert "missing protection" not in done.stderr
        return done.stdout + done.stderr

    def fail(self, command: str, *arguments: str, signer: str = "station") -> str:
        """A transaction that must fail; what openssl said."""
        done = self.cmp(command, *arguments, signer=signer)
        assert done.returncode != 0
        return done.stdout + done.stderr

    def verifies(self, name: str) -> bool:
        """Whether openssl verifies a certificate below the identity root."""
        given = ("-CAfile", "identity-root.pem", "-untrusted", "device-ca.pem", f"{name}.pem")
        return self.openssl("verify", *given).returncode == 0

    def same(self, one: str, other: str) -> bool:
        """Whether two files are the same."""
        return (self.path / one).read_bytes() == (self.path / other).read_bytes()


async def write_authorities(world: World, path: Path) -> Sender:
    """A responder and a station; the CAs' certificates in files."""
    station = await prepare(world)
    listed = await world.ask(ListCertificates(), "", DocumentsListed)
    for name, _, document in listed.documents:
        (path / f"{name}.pem").write_bytes(document)
    return station


@pytest.fixture
def client(hsm_template: World, tmp_path: Path) -> Iterator[Client]:
    """A keyroom and an API as processes, and a station that has a certificate."""
    world, path = copy_world(hsm_template, tmp_path / "world"), tmp_path / "station"
    path.mkdir()
    world.start()
    station = asyncio.run(write_authorities(world, path))
    world.stop()
    pem = x509.load_der_x509_certificate(station.certificate).public_bytes(Encoding.PEM)
    (path / "station.pem").write_bytes(pem)
    (path / "station.key").write_bytes(station.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    settings = {"SOCKET": world.settings().socket, "PUBLIC_DIR": world.settings().public, "HOST": "127.0.0.1"}
    with contextlib.ExitStack() as stack:
        running = Running(world, "keyroom-1")
        stack.callback(running.end)
        running.wait_for("keyroom is up")
        http = stack.enter_context(served(settings))
        yield Client(path, f"{http.base_url.host}:{http.base_url.port}", world, running)


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

    # Whom nobody knows: a device's own certificate is no station's, and a password is none.
    (client.path / "ir.key").write_bytes((client.path / first).read_bytes())
    said = client.fail("ir", *enrol("BMS-000004", second, "other"), signer="ir")
    assert 'signerNotTrusted; StatusString: "client-certificate-unknown' in said
    said = client.fail("ir", *enrol("BMS-000004", second, "other"), "-ref", "a", "-secret", "pass:a", signer="")
    assert 'badMessageCheck; StatusString: "message-unprotected' in said

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
        {"label": "cmp-1", "certConf": 4, "cr": 1, "genm": 1, "ir": 4, "kur": 2, "p10cr": 1, "rr": 1}
    ]
    (revoked,) = [leaf["op"]["what"] for leaf in leaves if leaf["type"] == "certificate.revoke"]
    assert (revoked["serial"], revoked["reason"], revoked["station"]) == ("BMS-000003", "superseded", "graz-3-a")
    issued = [leaf for leaf in leaves if leaf["type"] == "key.sign.outcome" and "work_order" in leaf["op"]["what"]]
    assert [(leaf["op"]["what"]["serial"], leaf["actor"]["sub"]) for leaf in issued] == [
        ("BMS-000001", "graz-3-a"), ("BMS-000003", "graz-3-a"),
    ]  # fmt: skip
