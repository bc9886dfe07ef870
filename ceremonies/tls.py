"""Mutual TLS between API and keyroom: contexts from files, and the name of whoever is on the other end.

TLS 1.3 only (RFC 8446), both ends with a certificate, no session tickets: each connection proves its key anew. Files
are read again when they change, so that certificates are renewed without a restart.
"""

import os
import socket
import ssl
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from ceremonies.errors import KeyroomError
from pki.signatures import spki_sha256

log = structlog.get_logger()

HANDSHAKE_S: Final = 5.0
"""How long a handshake may take, from the first byte to the last."""

IDLE_S: Final = 20
"""After how many idle seconds a peer is asked whether it is there, and how long sent bytes may be unacknowledged."""


class TlsMisconfigured(KeyroomError):
    """An address, a certificate, a key or an authority for TLS between API and keyroom cannot be used."""

    code = "tls-misconfigured"


class PeerRefused(KeyroomError):
    """Whoever connected is not let in: no handshake, a certificate that is not listed, or too many at once."""

    code = "peer-refused"


class TlsFiles(msgspec.Struct, frozen=True):
    """PEM files: the own chain, its key (mode 0400, owned by this user), the only authorities believed."""

    certificate: Path
    key: Path
    ca: Path


class Renewed:
    """The context of some files, made anew when one of them has changed.

    While new files do not fit together (a certificate is there, its key not yet), the context of before is used.
    """

    def __init__(self, files: TlsFiles, *, server: bool) -> None:
        self._files = files
        self._server = server
        self._seen = look_at(files)
        self._context = make_context(files, server=server)

    def context(self) -> ssl.SSLContext:
        """The newest that can be made."""
        if (seen := look_at(self._files)) != self._seen:
            self._seen = seen
            try:
                self._context = make_context(self._files, server=self._server)
            except TlsMisconfigured as error:
                log.error("tls files cannot be used, those of before are", why=str(error))
            else:
                log.info("tls files were renewed", certificate=str(self._files.certificate))
        return self._context


def look_at(files: TlsFiles) -> tuple[tuple[int, ...], ...]:
    """What changes when a file is written or replaced; a file that is away is nothing."""
    found: list[tuple[int, ...]] = []
    for path in (files.certificate, files.key, files.ca):
        try:
            status = path.stat()
        except OSError:
            found.append(())
            continue
        found.append((status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))
    return tuple(found)


def make_context(files: TlsFiles, *, server: bool) -> ssl.SSLContext:
    """A context for one side. The other side must have a certificate of `files.ca`. Raises TlsMisconfigured."""
    check_key(files.key)
    check_authorities(files.ca)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.options |= ssl.OP_NO_TICKET
    if server:
        context.num_tickets = 0
    try:
        context.load_cert_chain(files.certificate, files.key, password="")  # an encrypted key is none: nobody is asked
        context.load_verify_locations(cafile=files.ca)
    except (OSError, ValueError) as error:
        raise TlsMisconfigured(
            f"{files.certificate}, {files.key}, {files.ca}: {error}",
            hint="a PEM chain, its key without a password, and the PEM certificates of the other side's authorities",
        ) from error
    return context


def check_key(path: Path) -> None:
    """A regular file of this user that nobody else can read. Raises TlsMisconfigured."""
    try:
        status = path.lstat()
    except OSError as error:
        raise TlsMisconfigured(f"{path}: {error.strerror}") from error
    if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise TlsMisconfigured(
            f"key {path} is a link, belongs to another user, or can be read by others",
            hint="own it, chmod 0400 it; renew it when others could read it",
        )


def check_authorities(path: Path) -> None:
    """A file that others do not write: whoever does lets himself in. Raises TlsMisconfigured."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise TlsMisconfigured(f"{path}: {error.strerror}") from error
    if mode & 0o022:
        raise TlsMisconfigured(f"authorities {path} can be written by others", hint="compare them, chmod 0644 the file")


def read_address(text: str) -> tuple[str, int]:
    """`HOST:PORT`, or `[ADDRESS]:PORT` for IPv6. Raises TlsMisconfigured."""
    host, colon, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not bare or (":" in bare) != (bare != host) or not (port.isascii() and port.isdigit()):
        raise TlsMisconfigured(f"{text[:80]!r} is no address", hint="HOST:PORT, or [ADDRESS]:PORT for IPv6")
    if int(port[:6]) > 65535:
        raise TlsMisconfigured(f"{text[:80]!r} has no port below 65536")
    return bare, int(port)


def name_peer(certificate: bytes, allowed: Sequence[str]) -> str:
    """The item of `allowed` that a verified certificate (DER) fits: `spki:` and the hex SHA-256 of its public key, or
    `dns:` and one of its subject alternative names, as it is written there. Raises PeerRefused.
    """
    try:
        parsed = x509.load_der_x509_certificate(certificate)
        key = parsed.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        names = _list_names(parsed)
    except Exception as error:  # what cryptography does not know fails in many ways inside its parsers
        raise PeerRefused(f"a certificate that does not parse: {error}") from error
    spki = f"spki:{spki_sha256(key)}"
    claims = {spki, *(f"dns:{name}" for name in names)}
    for item in allowed:
        if item in claims:
            return item
    raise PeerRefused(
        f"certificate {spki} of {', '.join(names)[:120] or 'no name'} is not on the list",
        hint="add it to `peers` of [remote]",
    )


def _list_names(certificate: x509.Certificate) -> list[str]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return found.value.get_values_for_type(x509.DNSName)


def last_second(certificate: bytes) -> int:
    """When a certificate (DER) ends, in seconds since 1970."""
    return int(x509.load_der_x509_certificate(certificate).not_valid_after_utc.timestamp())


def first_end(chain: bytes) -> int:
    """When the first of some certificates (PEM) ends, in seconds since 1970. Raises ValueError."""
    return min(int(item.not_valid_after_utc.timestamp()) for item in x509.load_pem_x509_certificates(chain))


def keep_alive(connection: socket.socket) -> None:
    """Have the kernel notice that the other machine is gone."""
    for level, option, value in (
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, IDLE_S),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
        (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
        (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, IDLE_S * 1000),
    ):
        connection.setsockopt(level, option, value)
