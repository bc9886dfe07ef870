import pytest

from tests.api.answers import CERTIFICATES
from tests.api.conftest import Served


@pytest.mark.usefixtures("peer")
def test_certificates_are_pem(served: Served) -> None:
    rows = [
        {"name": name, "digest": "cc" * 32, "certificate": CERTIFICATES[name].decode()}
        for name in ("device-ca", "identity-root")
    ]
    assert served.http.get("/v1/certificates").json() == {"certificates": rows}
