"""Names of certificates have a form, and requests of strangers a size."""

import msgspec
import pytest

from tests.ceremonies.commands.framed import decode_command


@pytest.mark.req("T25")
@pytest.mark.parametrize(
    "fields",
    [
        {"do": "ask-status", "request": bytes(2049)},
        {"do": "revoke-certificate", "serial": "bms-1"},
        {"do": "revoke-certificate", "serial": "BMS-1\n"},
        {"do": "revoke-certificate", "number": "A" * 40},
        {"do": "revoke-certificate", "number": "a" * 41},
        {"do": "revoke-certificate", "serial": "BMS-1", "reason": "a b"},
        {"do": "show-certificate", "serial": "x" * 65},
    ],
)
def test_what_is_outside_the_limits_is_no_request(fields: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        decode_command(fields)
