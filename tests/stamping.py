"""A time-stamping authority for tests: `openssl ts -reply` behind HTTP on loopback, which can be told to misbehave."""

import datetime
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from rfc3161_client import HashAlgorithm, TimestampRequestBuilder

POLICY = "1.3.6.1.4.1.99999.1"
DAY = datetime.timedelta(days=1)
_CONFIGURATION = f"""[tsa]
default_tsa = one
[one]
serial = serial
signer_cert = tsa.pem
signer_key = tsa.key
certs = tsa.pem
signer_digest = sha256
default_policy = {POLICY}
other_policies = {POLICY}.9
digests = sha256, sha384, sha512
accuracy = secs:1
ess_cert_id_alg = sha256
"""


class StampAuthority:
    """Keys and files under `path`. `purpose`: what its certificate may be used for."""

    def __init__(
        self,
        path: Path,
        purpose: x509.ObjectIdentifier = ExtendedKeyUsageOID.TIME_STAMPING,
        *,
        accuracy: str = "secs:1",
    ) -> None:
        path.mkdir(parents=True)
        self.path = path
        self.mode = "well"
        self.asked = 0
        self.url = ""
        root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        self.root = _certify("stamping root", root_key, root_key, None)
        (path / "root.pem").write_bytes(self.root.public_bytes(serialization.Encoding.PEM))
        certificate = _certify("stamping unit", key, root_key, purpose)
        (path / "tsa.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        (path / "tsa.key").write_bytes(key.private_bytes(*plain))
        (path / "serial").write_text("01\n")
        (path / "tsa.cnf").write_text(_CONFIGURATION.replace("accuracy = secs:1", f"accuracy = {accuracy}"))

    def reply(self, query: bytes) -> bytes:
        """The DER TimeStampResp of `openssl ts`."""
        (self.path / "query").write_bytes(query)
        command = ["openssl", "ts", "-reply", "-config", "tsa.cnf", "-queryfile", "query", "-out", "reply"]
        subprocess.run(command, cwd=self.path, check=True, capture_output=True, timeout=30)
        return (self.path / "reply").read_bytes()

    def stamp(self, data: bytes) -> bytes:
        """A time-stamp over these bytes."""
        return self.reply(TimestampRequestBuilder(data, HashAlgorithm.SHA256).build().as_bytes())

    @contextmanager
    def serving(self) -> Iterator["StampAuthority"]:
        """Answer on loopback."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{server.server_port}/tsa"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


def _certify(
    name: str, key: ec.EllipticCurvePrivateKey, issuer: ec.EllipticCurvePrivateKey, purpose: Any
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "stamping root")]))
        .public_key(key.public_key())
        .serial_number(1 if purpose is None else 2)
        .not_valid_before(now - DAY)
        .not_valid_after(now + DAY)
        .add_extension(x509.BasicConstraints(purpose is None, None), critical=True)
    )
    if purpose is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=True)
    return builder.sign(issuer, hashes.SHA256())


def _handler(authority: StampAuthority) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            authority.asked += 1
            query = self.rfile.read(int(self.headers["Content-Length"]))
            status, media, body = answer(authority, query)
            if authority.mode == "slow":
                time.sleep(1)
            self.send_response(status)
            self.send_header("Content-Type", media)
            self.send_header("Content-Length", str(len(body)))
            if status == 302:
                self.send_header("Location", authority.url)
            self.end_headers()
            try:
                self.wfile.write(body)
            except ConnectionError:
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            """Nobody reads it."""

    return Handler


def answer(authority: StampAuthority, query: bytes) -> tuple[int, str, bytes]:
    """Status, media type and body, as the mode says."""
    mode, media = authority.mode, "application/timestamp-reply"
    if mode in ("refuses", "redirects", "page"):
        return {"refuses": 403, "redirects": 302, "page": 200}[mode], "text/html", b"<html>"
    if mode == "huge":
        return 200, media, bytes(1 << 20)
    if mode == "garbage":
        return 200, media, b"\x30\x03\x02\x01\x00"
    if mode == "imprint":
        return 200, media, authority.stamp(b"something else")
    if mode == "old":  # a true stamp over the right bytes, for another request
        flipped = bytearray(query)
        flipped[query.rindex(b"\x02\x08") + 9 if b"\x02\x08" in query else -4] ^= 1
        return 200, media, authority.reply(bytes(flipped))
    if mode == "policy":
        (authority.path / "tsa.cnf").write_text(_CONFIGURATION.replace(f"= {POLICY}\nother", f"= {POLICY}.9\nother"))
    return 200, media, authority.reply(query)
