"""Golden certificates: what Kedge makes today is, byte for byte, what was looked at and written down."""

import json

import pytest
from cryptography import x509

from pki.x509.lfdi import lfdi_of, sfdi_of
from pki.x509.profiles import PROFILES
from tests.vectors.x509 import build_certificates


@pytest.mark.req("CA-4", "CA-5")
def test_the_certificates_are_the_golden_ones() -> None:
    assert build_certificates.build() == build_certificates.FILE.read_text()


@pytest.mark.req("CA-5", "CA-6")
def test_every_profile_is_among_them() -> None:
    rows = json.loads(build_certificates.FILE.read_text())
    assert {row["name"].split(",")[0].split(" of ")[0] for row in rows} == set(PROFILES)
    for row in rows:
        der = bytes.fromhex(row["der"])
        assert x509.load_der_x509_certificate(der).version is x509.Version.v3
        if "lfdi" in row:
            assert (lfdi_of(der), sfdi_of(lfdi_of(der))) == (row["lfdi"], row["sfdi"])
