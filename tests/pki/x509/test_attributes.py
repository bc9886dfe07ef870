"""What a request should say, compared with OpenSSL's reading of it."""

import subprocess

from pki.x509.attributes import write_attributes
from pki.x509.profiles import IDENTITY_ROOT, IDEVID


def parse(der: bytes) -> list[str]:
    command = ["openssl", "asn1parse", "-inform", "DER"]
    text = subprocess.run(command, input=der, capture_output=True, check=True).stdout.decode()
    return [line.rpartition(":")[2].strip() for line in text.splitlines() if "OBJECT" in line]


def test_attributes_name_curve_and_algorithm() -> None:
    assert parse(write_attributes(IDEVID)) == ["id-ecPublicKey", "prime256v1", "ecdsa-with-SHA256"]
    assert parse(write_attributes(IDENTITY_ROOT)) == ["id-ecPublicKey", "secp384r1", "ecdsa-with-SHA384"]
