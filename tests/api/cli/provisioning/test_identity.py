"""A certificate that has ended is no outage."""

import datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from api.cli.errors import FileRefused
from api.cli.provisioning.exits import StationNotAuthorised
from api.cli.provisioning.identity import check_identity


def write_certificate(folder: Path, days: float) -> None:
    """A certificate that ends in so many days."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    begin, end = now - datetime.timedelta(30), now + datetime.timedelta(days)
    name = x509.Name([])
    certificate = x509.CertificateBuilder(name, name, key.public_key(), 7, begin, end).sign(key, hashes.SHA256())
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(Encoding.PEM))


def test_one_that_is_valid_or_not_needed(tmp_path: Path) -> None:
    write_certificate(tmp_path, 0.1)
    check_identity(tmp_path)
    check_identity(None)


def test_one_that_has_ended_or_is_none(tmp_path: Path) -> None:
    with pytest.raises(FileRefused):
        check_identity(tmp_path)
    (tmp_path / "certificate.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    with pytest.raises(FileRefused):
        check_identity(tmp_path)
    write_certificate(tmp_path, -0.1)
    with pytest.raises(StationNotAuthorised, match="has ended"):
        check_identity(tmp_path)
