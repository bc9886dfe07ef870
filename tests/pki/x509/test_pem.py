import base64
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pki.x509.errors import PemMalformed
from pki.x509.pem import is_pem, read_pem, write_pem


def _block(data: bytes, label: str = "CERTIFICATE", newline: bytes = b"\n") -> bytes:
    text = base64.b64encode(data)
    lines = [text[i : i + 64] for i in range(0, len(text), 64)]
    return newline.join((f"-----BEGIN {label}-----".encode(), *lines, f"-----END {label}-----".encode(), b""))


@given(st.binary(min_size=1, max_size=300), st.sampled_from([b"\n", b"\r\n"]))
def test_one_block(data: bytes, newline: bytes) -> None:
    block = _block(data, newline=newline)
    assert is_pem(block)
    assert read_pem(block, "CERTIFICATE") == data


def test_der_is_not_pem() -> None:
    assert not is_pem(b"\x30\x03\x02\x01\x00")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda block: b"Certificate:\n" + block, "not one PEM block"),
        (lambda block: block + block, "not one PEM block"),
        (lambda block: block + b"x", "not one PEM block"),
        (lambda block: block.replace(b"END CERT", b"END CSRT"), "not one PEM block"),
        (lambda block: block.replace(b"\n", b"", 1), "not one PEM block"),
        (lambda block: block.replace(b"-----\n", b"-----\nProc-Type: 4,ENCRYPTED\n\n", 1), "not one PEM block"),
        (lambda block: block.replace(b"CERTIFICATE", b"X509 CERTIFICATE"), "not one PEM block|X509"),
        (lambda block: block.replace(b"=", b""), "base64"),
    ],
)
def test_refusals(change: object, why: str) -> None:
    assert callable(change)
    with pytest.raises(PemMalformed, match=why):
        read_pem(change(_block(b"1234")), "CERTIFICATE")


def test_another_label() -> None:
    with pytest.raises(PemMalformed, match="PRIVATE KEY") as caught:
        read_pem(_block(b"1234", "PRIVATE KEY"), "CERTIFICATE REQUEST")
    assert "CERTIFICATE REQUEST" in caught.value.hint


@given(st.binary(min_size=1, max_size=300))
def test_what_is_written_is_read_and_is_what_openssl_writes(der: bytes) -> None:
    written = write_pem(der, "CERTIFICATE")
    assert read_pem(written, "CERTIFICATE") == der
    assert written == ssl.DER_cert_to_PEM_cert(der).encode()
