"""Names of stations, and their requests."""

import msgspec
import pytest

from tests.ceremonies.commands.framed import decode_command


@pytest.mark.req("FS-2")
@pytest.mark.parametrize(
    "fields",
    [
        {"do": "issue-station", "station": "../a", "csr": b"0"},
        {"do": "issue-station", "station": "a", "csr": bytes((1 << 17) + 1)},
        {"do": "suspend-station", "station": "a" * 65, "reason": "x"},
        {"do": "revoke-station", "station": "a", "reason": "x" * 257},
        {"do": "list-stations", "surplus": 1},
    ],
)
def test_what_is_outside_the_limits_is_no_request(fields: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        decode_command(fields)
