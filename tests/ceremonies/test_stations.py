"""What the journal says of stations, entry by entry."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ceremonies.stations import (
    ENROL,
    RESUME,
    REVOKE,
    SUSPEND,
    ClientCertificateExpired,
    ClientCertificateUnknown,
    StationRevoked,
    Stations,
    StationSuspended,
    StationUnknown,
)
from tests.ceremonies.stationed import DER, NOW, NUMBER, PLACE, PLAN, enrolled

AFTER = datetime(2027, 1, 1, tzinfo=UTC)


@pytest.mark.req("AZ-4")
def test_a_station_is_known_by_a_certificate_that_was_released() -> None:
    stations = enrolled()
    identity = stations.identify(DER, NOW)
    assert (identity.role, identity.sub, identity.cred) == ("station", "line-3-a", PLAN["spki"])
    assert identity.bindings == {
        "plant": ("graz",),
        "line": ("3", "4"),
        "class": ("bms-stm32h7",),
        "station": ("line-3-a",),
    }
    with pytest.raises(ClientCertificateUnknown):
        stations.identify(DER + b"\0", NOW)


@pytest.mark.req("AZ-4")
def test_what_an_entry_changes_counts_from_the_next_request_on() -> None:
    stations = enrolled()
    stations.take(SUSPEND, 7, {"station": "line-3-a", "reason": "a drill"})
    with pytest.raises(StationSuspended, match="since entry 7"):
        stations.check_working("line-3-a")
    stations.take(RESUME, 8, {"station": "line-3-a", "reason": "over"})
    stations.check_working("line-3-a")
    stations.take(REVOKE, 9, {"station": "line-3-a", "reason": "stolen"})
    with pytest.raises(StationRevoked):
        stations.identify(DER, NOW)


def test_a_certificate_counts_until_its_end() -> None:
    end = datetime(2026, 12, 20, tzinfo=UTC)
    assert enrolled().identify(DER, end - timedelta(seconds=1)).expires == end
    with pytest.raises(ClientCertificateExpired):
        enrolled().identify(DER, end)


def test_an_earlier_certificate_counts_beside_the_newest() -> None:
    stations = enrolled()
    what = {"station": "line-3-a", "not_after": "2027-01-20T00:00:00Z", "certificate_number": "8"}
    stations.take_certificate("ab" * 32, 12, what)
    newest = stations.newest("line-3-a")
    assert newest is not None
    assert newest.sha256 == "ab" * 32
    assert stations.identify(DER, NOW).sub == "line-3-a"
    assert stations.newest("line-4-a") is None


@pytest.mark.req("AZ-4")
def test_a_certificate_that_was_revoked_never_counts_again_and_its_station_waits_for_officers() -> None:
    stations = enrolled()
    stations.take_revocation(9, ["f" * 40])
    stations.check_working("line-3-a")
    stations.take_revocation(10, ["f" * 40, NUMBER])
    with pytest.raises(StationSuspended, match="since entry 10"):
        stations.check_working("line-3-a")
    stations.take(RESUME, 11, {"station": "line-3-a", "reason": "over"})
    with pytest.raises(ClientCertificateExpired, match="was revoked"):
        stations.identify(DER, NOW)
    assert stations.newest("line-3-a") is None


def test_who_comes_with_tokens_can_be_suspended_by_pseudonym() -> None:
    stations = Stations()
    stations.take(SUSPEND, 3, {"station": "ab" * 16, "reason": "strange"})
    with pytest.raises(StationSuspended):
        stations.check_working("ab" * 16)
    with pytest.raises(StationUnknown):
        stations.get("ab" * 16)


@pytest.mark.parametrize("missing", sorted(PLACE))
def test_an_entry_that_lacks_something_is_none(missing: str) -> None:
    what: dict[str, Any] = {name: value for name, value in PLAN.items() if name != missing}
    with pytest.raises(KeyError):
        Stations().take(ENROL, 1, what)
