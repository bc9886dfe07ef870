"""A CA asks elsewhere for its certificate: openssl reads the request, and a changed byte is refused."""

import subprocess

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from pki.errors import PkiError
from pki.signatures import der_to_raw, spki_der
from pki.x509.ca_requests import draft_request, read_request
from pki.x509.pem import read_pem, write_pem

KEY = ec.generate_private_key(ec.SECP256R1())
PUBLIC = spki_der(KEY.public_key())


def make_request() -> bytes:
    draft = draft_request("oslo-ca", PUBLIC)
    (item,) = draft.to_sign
    return draft.finish({item.spki: der_to_raw(KEY.sign(item.data, ec.ECDSA(hashes.SHA256())), 32)})


def test_the_issuer_reads_it() -> None:
    read = read_request(make_request())
    assert read.public_key == PUBLIC


def test_openssl_verifies_it() -> None:
    command = ["openssl", "req", "-verify", "-noout", "-subject"]
    done = subprocess.run(command, input=make_request(), capture_output=True, check=True)
    assert b"verify OK" in done.stdout + done.stderr
    assert b"CN = oslo-ca" in done.stdout + done.stderr


@pytest.mark.parametrize("at", [20, 60, 130])
def test_a_changed_byte_is_refused(at: int) -> None:
    der = bytearray(read_pem(make_request(), "CERTIFICATE REQUEST"))
    der[-at] ^= 1
    with pytest.raises(PkiError):
        read_request(write_pem(bytes(der), "CERTIFICATE REQUEST"))


def test_a_key_of_another_curve_does_not_ask() -> None:
    other = spki_der(ec.generate_private_key(ec.SECP384R1()).public_key())
    draft = draft_request("oslo-ca", other)
    with pytest.raises(PkiError):
        draft.assemble({draft.to_sign[0].spki: bytes(95) + b"\x01"})
