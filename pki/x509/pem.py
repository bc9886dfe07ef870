"""PEM blocks, strictly (RFC 7468 section 3): one block, its label, base64 of at most 64 columns, nothing around it."""

import base64
import binascii
import re

from pki.x509.errors import PemMalformed

_BLOCK = re.compile(
    rb"-----BEGIN ([A-Z ]{1,40})-----\r?\n((?:[A-Za-z0-9+/]{1,64}={0,2}\r?\n)+)-----END \1-----[ \t\r\n]*"
)


def is_pem(data: bytes) -> bool:
    """Whether `data` begins as PEM does. DER never does: 0x2d is no SEQUENCE."""
    return data.startswith(b"-----BEGIN ")


def read_pem(data: bytes, label: str) -> bytes:
    """The content of the one block that `data` is. Raises PemMalformed."""
    block = _BLOCK.fullmatch(data)
    if block is None:
        raise PemMalformed("not one PEM block", hint="send the block alone, without text before or after it")
    if block[1] != label.encode():
        raise PemMalformed(f"the PEM block is a {block[1].decode()}", hint=f"send a {label}")
    try:
        return base64.b64decode(block[2].translate(None, b"\r\n"), validate=True)
    except binascii.Error as error:
        raise PemMalformed(f"the PEM block is not base64: {error}") from error


def write_pem(der: bytes, label: str) -> bytes:
    """One PEM block with 64 columns and a newline at its end."""
    text = binascii.b2a_base64(der, newline=False)
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    return b"\n".join([b"-----BEGIN %b-----" % label.encode(), *lines, b"-----END %b-----\n" % label.encode()])
