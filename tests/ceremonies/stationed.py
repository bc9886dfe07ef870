"""One enrolled station, without a keyroom."""

import hashlib
from datetime import UTC, datetime
from typing import Any, Final

from ceremonies.stations import ENROL, Stations
from pki.x509.pem import write_pem

NOW: Final = datetime(2026, 11, 23, tzinfo=UTC)
DER: Final = bytes.fromhex("3082") + bytes(100)
PLACE: Final[dict[str, Any]] = {
    "plant": "graz",
    "lines": ["3", "4"],
    "classes": ["bms-stm32h7"],
    "spki": "ab" * 32,
    "addresses": [],
}
NUMBER: Final = f"{7:040x}"
PLAN: Final[dict[str, Any]] = {"station": "line-3-a", **PLACE}


def enrolled(**changed: Any) -> Stations:
    """Station line-3-a with one certificate, which ends on 2026-12-20."""
    stations = Stations()
    stations.take(ENROL, 1, PLAN | changed)
    digest = hashlib.sha256(write_pem(DER, "CERTIFICATE")).hexdigest()
    what = {"station": "line-3-a", "not_after": "2026-12-20T00:00:00Z", "certificate_number": NUMBER}
    stations.take_certificate(digest, 3, what)
    return stations
