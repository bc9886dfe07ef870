"""Statements and filters: what is outside their limits is no request."""

import msgspec
import pytest

from tests.ceremonies.commands.framed import decode_command

SHIP = {"act": "ship", "serial": "A-1"}


@pytest.mark.req("FS-2")
@pytest.mark.parametrize(
    "fields",
    [
        {"do": "record-statements", "id": "request-1", "items": []},
        {"do": "record-statements", "id": "request-1", "items": [SHIP] * 1001},
        {"do": "record-statements", "id": "request-1", "items": [{**SHIP, "rack": "r1"}]},
        {"do": "record-statements", "id": "request-1", "items": [{**SHIP, "act": "confirm"}]},
        {"do": "record-statements", "id": "request-1", "items": [{"act": "move", "serial": "A-1", "site": ""}]},
        {"do": "record-statements", "id": "request-1", "items": [{"act": "decommission", "serial": "A-1"}]},
        {"do": "query-fleet", "limit": 1001},
        {"do": "query-fleet", "site": "North"},
        {"do": "query-fleet", "firmware_below": "2.4.0-rc1"},
        {"do": "query-fleet", "state": "lost"},
        {"do": "check-import", "file": "00"},
    ],
)
def test_what_is_outside_the_limits_is_no_request(fields: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        decode_command(fields)


def test_a_statement_is_read_by_its_act() -> None:
    items = [SHIP, {"act": "return", "serial": "A-1", "reason": "fan"}]
    request = decode_command({"do": "record-statements", "id": "request-1", "items": items})
    assert [type(item).__name__ for item in request.command.items] == ["Ship", "Return"]  # type: ignore[union-attr]  # it is the command above
