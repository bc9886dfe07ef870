"""Software TPMs and the tools of the TPM2 project, which know nothing of Kedge: what a device does with its TPM."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from cryptography.hazmat.primitives.serialization import load_pem_public_key

from pki.elements.credentials import Credential
from pki.elements.endorsements import EndorsementKey
from tests.foreign_tokens import start_daemon, wait_for

DEVICE_KEY: Final = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign"
BLOB_HEADER: Final = bytes.fromhex("badcc0de00000001")
"""What tpm2_activatecredential wants before the two structures: its magic number and version 1."""


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

    def make_ek(self, kind: str) -> EndorsementKey:
        """Its endorsement key, `rsa` or `ecc`, by the profile's own template."""
        self.run("createek", "-c", f"ek-{kind}.ctx", "-G", kind, "-f", "pem", "-u", f"ek-{kind}.pem")
        key = load_pem_public_key((self.path / f"ek-{kind}.pem").read_bytes())
        assert not isinstance(key, str)
        return key  # type: ignore[return-value]

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

    def sign(self, digest: bytes, name: str = "key") -> bytes:
        """A signature over a SHA-256 digest, DER."""
        (self.path / "digest").write_bytes(digest)
        self.run("sign", "-c", f"{name}.ctx", "-g", "sha256", "-f", "plain", "-d", "-o", "signature", "digest")
        return (self.path / "signature").read_bytes()


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
