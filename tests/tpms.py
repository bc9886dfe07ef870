"""Software TPMs and the tools of the TPM2 project, which know nothing of Kedge: what a device does with its TPM."""

import hashlib
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from pki.elements.areas import Area
from pki.elements.credentials import Credential
from pki.elements.endorsements import EndorsementKey
from pki.x509.der import BIT_STRING, SEQUENCE, write_element
from tests.foreign_tokens import start_daemon, wait_for

DEVICE_KEY: Final = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign"
BLOB_HEADER: Final = bytes.fromhex("badcc0de00000001")
"""What tpm2_activatecredential wants before the two structures: its magic number and version 1."""


TPM_MADE_BY: Final = (
    "--tpm-spec-family", "2.0", "--tpm-spec-level", "0", "--tpm-spec-revision", "164", "--tpm-manufacturer",
    "id:00001014", "--tpm-model", "swtpm", "--tpm-version", "id:20191023",
)  # fmt: skip


class ToolFailed(AssertionError):
    """A tool of the TPM2 project ended with an error: the TPM refused."""


class Tpm:
    """A running software TPM."""

    def __init__(self, directory: Path) -> None:
        self.path = directory
        self._environment = {
            **os.environ, "TPM2TOOLS_TCTI": f"swtpm:path={directory}/tpm", "TSS2_LOG": "all+NONE",
        }  # fmt: skip

    def run(self, tool: str, *arguments: str) -> str:
        """Run `tpm2_<tool>` in the TPM's directory, and let nothing stay loaded. Raises ToolFailed."""
        done = self._call(f"tpm2_{tool}", *arguments)
        self._call("tpm2_flushcontext", "-t")
        if done.returncode:
            raise ToolFailed(f"tpm2_{tool}: {done.stderr}")
        return done.stdout

    def _call(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, env=self._environment, cwd=self.path, capture_output=True, text=True, check=False
        )

    def shell(self, script: str, **environment: str) -> str:
        """What a script prints that runs in the TPM's directory. Raises ToolFailed."""
        command = ["bash", "-euo", "pipefail", "-c", script]
        merged = {**self._environment, **environment}
        done = subprocess.run(command, env=merged, cwd=self.path, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ToolFailed(done.stdout + done.stderr)
        return done.stdout

    def make_ek(self, kind: str) -> EndorsementKey:
        """Its endorsement key, `rsa` or `ecc`, by the profile's own template."""
        self.run("createek", "-c", f"ek-{kind}.ctx", "-G", kind, "-f", "pem", "-u", f"ek-{kind}.pem")
        key = load_pem_public_key((self.path / f"ek-{kind}.pem").read_bytes())
        assert isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey)
        return key

    def make_key(self, name: str = "key", attributes: str = DEVICE_KEY, *options: str) -> bytes:
        """A key below a primary key of the owner; its public area (TPM2B_PUBLIC)."""
        if not (self.path / "primary.ctx").exists():
            self.run("createprimary", "-C", "o", "-G", "ecc", "-c", "primary.ctx")
        files = ("-u", f"{name}.pub", "-r", f"{name}.priv")
        self.run("create", "-C", "primary.ctx", "-G", "ecc256:ecdsa-sha256", "-a", attributes, *files, *options)
        self.run("load", "-C", "primary.ctx", *files, "-c", f"{name}.ctx")
        return (self.path / f"{name}.pub").read_bytes()

    def activate(self, credential: Credential, kind: str, name: str = "key", *options: str) -> bytes:
        """The secret of a credential. Raises ToolFailed when the TPM does not give it."""
        (self.path / "blob").write_bytes(BLOB_HEADER + credential.blob + credential.seed)
        (self.path / "secret").unlink(missing_ok=True)
        self.run("startauthsession", "--policy-session", "-S", "session")
        try:
            self.run("policysecret", "-S", "session", "-c", "e")
            keys = ("-c", f"{name}.ctx", "-C", f"ek-{kind}.ctx", "-P", "session:session")
            self.run("activatecredential", *keys, "-i", "blob", "-o", "secret", *options)
        finally:
            self.run("flushcontext", "session")
        return (self.path / "secret").read_bytes()

    def request(self, area: Area, name: str = "key") -> bytes:
        """A certification request (PKCS #10, DER) that the TPM's key signed."""
        body = write_element(SEQUENCE, b"\2\1\0", write_element(SEQUENCE), area.public_key, b"\xa0\0")
        signature = self._sign(hashlib.sha256(body).digest(), name)
        algorithm = bytes.fromhex("300a06082a8648ce3d040302")
        return write_element(SEQUENCE, body, algorithm, write_element(BIT_STRING, b"\0", signature))

    def _sign(self, digest: bytes, name: str) -> bytes:
        """A signature over a SHA-256 digest, DER."""
        (self.path / "digest").write_bytes(digest)
        self.run("sign", "-c", f"{name}.ctx", "-g", "sha256", "-f", "plain", "-d", "-o", "signature", "digest")
        return (self.path / "signature").read_bytes()


class LocalCa:
    """The CA that comes with swtpm, as the maker of TPMs: a root, an issuer, and endorsement certificates."""

    def __init__(self, directory: Path) -> None:
        self._path = directory
        state = directory / "state"
        state.mkdir(parents=True)
        files = {"signingkey": "sign.pem", "issuercert": "issuer.pem", "certserial": "serial"}
        lines = [f"statedir = {state}", *(f"{name} = {state / file}" for name, file in files.items())]
        (directory / "conf").write_text("\n".join(lines))
        (directory / "options").write_text("--platform-manufacturer Acme\n--platform-version 1\n--platform-model m\n")
        self.root, self.issuer = state / "swtpm-localca-rootca-cert.pem", state / "issuer.pem"

    def endorse(self, key: EndorsementKey) -> bytes:
        """An endorsement certificate, DER."""
        numbers = key.public_numbers()
        if isinstance(numbers, rsa.RSAPublicNumbers):
            shown = f"{numbers.n:x}"
        else:
            shown = f"x={numbers.x:064x},y={numbers.y:064x},id=secp256r1"
        files = ["--configfile", f"{self._path}/conf", "--optsfile", f"{self._path}/options", "--dir", str(self._path)]
        command = ["swtpm_localca", "--type", "ek", "--tpm2", "--ek", shown, *files, *TPM_MADE_BY]
        subprocess.run(command, check=True, capture_output=True)
        return (self._path / "ek.cert").read_bytes()


@contextmanager
def running_tpm() -> Iterator[Tpm]:
    """A new TPM of its own."""
    with TemporaryDirectory(prefix="kedge-tpm-") as name, ExitStack() as daemons:
        directory = Path(name)
        (directory / "state").mkdir()
        sockets = ["--server", f"type=unixio,path={directory}/tpm", "--ctrl", f"type=unixio,path={directory}/tpm.ctrl"]
        flags = ["--flags", "not-need-init,startup-clear"]
        start_daemon(daemons, ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={directory}/state", *sockets, *flags])
        wait_for(directory / "tpm")
        yield Tpm(directory)
