"""LFDI and SFDI: the example of IEEE 2030.5-2018 clause 6.3, and corners."""

import hashlib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from pki.x509.errors import PemMalformed
from pki.x509.lfdi import lfdi_of, sfdi_of
from tests.pki.x509.soft_keys import make_hierarchy

# IEEE 2030.5-2018 clause 6.3: certificate fingerprint, LFDI and SFDI of its example.
FINGERPRINT = "3e4f45ab31edfe5b67e343e5e4562e31984e23e5349e2ad745672ed145ee213a"


@pytest.mark.req("CA-6")
@pytest.mark.parametrize(
    ("lfdi", "sfdi"),
    [
        (FINGERPRINT[:40], "167261211391"),
        ("0" * 40, "000000000000"),
        ("f" * 40, "687194767357"),
        ("000000001" + "f" * 31, "000000000019"),
        ("00000000a" + "0" * 31, "000000000109"),
    ],
)
def test_vectors(lfdi: str, sfdi: str) -> None:
    assert sfdi_of(lfdi) == sfdi


@pytest.mark.req("CA-6")
def test_an_lfdi_is_the_left_of_sha256_over_the_certificate() -> None:
    certificate = make_hierarchy().device_ca.certificate
    der = x509.load_pem_x509_certificate(certificate).public_bytes(Encoding.DER)
    assert lfdi_of(certificate) == lfdi_of(der) == hashlib.sha256(der).hexdigest()[:40]
    assert lfdi_of(der) != hashlib.sha1(der).hexdigest()  # what a public implementation takes
    with pytest.raises(PemMalformed):
        lfdi_of(certificate * 2)


@given(st.binary(min_size=20, max_size=20))
def test_digits_add_up(lfdi: bytes) -> None:
    sfdi = sfdi_of(lfdi.hex())
    assert (len(sfdi), sum(map(int, sfdi)) % 10) == (12, 0)
    assert int(sfdi[:-1]) == int.from_bytes(lfdi, "big") >> 124
