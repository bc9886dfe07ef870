"""Token issuers of the demo: one for staff and stations, one for CI that serves its JWKS over TLS under its own CA."""

import datetime
import http.server
import ipaddress
import json
import secrets
import ssl
import threading
import time
from pathlib import Path
from typing import Any, Final

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from jwt.algorithms import ECAlgorithm

AUDIENCE: Final = "https://kedge.example"
LIFETIME_S: Final = 300


class Issuer:
    """An ES256 key and its name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.kid = secrets.token_hex(8)

    @property
    def jwk(self) -> dict[str, str]:
        """The public key (RFC 7517)."""
        members: dict[str, str] = json.loads(ECAlgorithm.to_jwk(self.key.public_key()))
        members.pop("key_ops", None)
        return {**members, "kid": self.kid, "alg": "ES256", "use": "sig"}

    def issue(self, subject: str, **claims: Any) -> str:
        """A token (RFC 7519) of five minutes."""
        now = int(time.time())
        times = {"iat": now, "nbf": now, "exp": now + LIFETIME_S, "jti": secrets.token_hex(12)}
        body = {"iss": self.name, "aud": AUDIENCE, "sub": subject, **times, **claims}
        return jwt.encode(body, self.key, algorithm="ES256", headers={"kid": self.kid})


class ServedIssuer(Issuer):
    """An issuer whose JWKS is fetched over TLS, as an OIDC provider's is."""

    def __init__(self, directory: Path) -> None:
        self.ca_pem, chain = make_server_certificate()
        path = directory / "issuer-tls.pem"
        path.touch(mode=0o600)
        path.write_bytes(chain)
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        super().__init__(f"https://localhost:{self._server.server_port}")
        self.jwks_url = f"{self.name}/jwks.json"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        issuer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                """The JWKS, and nothing else."""
                body = json.dumps({"keys": [issuer.jwk]}).encode()
                self.send_response(200 if self.path == "/jwks.json" else 404)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing on the demo's terminal."""

        return Handler

    def stop(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()


def make_server_certificate() -> tuple[str, bytes]:
    """A CA of its own and a certificate for localhost: (CA in PEM, server key and certificate in PEM)."""
    start = datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=5)
    end = start + datetime.timedelta(days=1)
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in ("Demo issuer CA", "localhost")]

    def begin(place: int) -> x509.CertificateBuilder:
        builder = x509.CertificateBuilder().subject_name(names[place]).issuer_name(names[0])
        builder = builder.public_key(keys[place].public_key()).serial_number(x509.random_serial_number())
        return builder.not_valid_before(start).not_valid_after(end)

    ski = x509.SubjectKeyIdentifier.from_public_key(keys[0].public_key())
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    ca = begin(0).add_extension(x509.BasicConstraints(True, 0), True).add_extension(usage, True)
    root = ca.add_extension(ski, False).sign(keys[0], hashes.SHA256())
    hosts = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    authority = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ski)
    leaf = begin(1).add_extension(hosts, False).add_extension(authority, False).sign(keys[0], hashes.SHA256())
    pem = keys[1].private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    root_pem = root.public_bytes(serialization.Encoding.PEM)
    return root_pem.decode(), pem + leaf.public_bytes(serialization.Encoding.PEM) + root_pem
