import pytest

from tests.api.conftest import Served


@pytest.mark.usefixtures("peer")
def test_certificates_are_pem(served: Served) -> None:
    row = {"name": "device-ca", "digest": "cc" * 32, "certificate": "-----BEGIN CERTIFICATE-----\n"}
    assert served.http.get("/v1/certificates").json() == {"certificates": [row]}
