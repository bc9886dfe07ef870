"""Settlements and strays: what is outside their limits is no request."""

import msgspec
import pytest

from ceremonies.commands import PARTS_LIMIT, STRAYS_LIMIT
from tests.ceremonies.commands.framed import decode_command


@pytest.mark.parametrize(
    "fields",
    [
        {"do": "settle-box", "box": "graz-box-ca", "parts": []},
        {"do": "settle-box", "box": "graz-box-ca", "parts": ["00" * 32] * (PARTS_LIMIT + 1)},
        {"do": "settle-box", "box": "graz-box-ca", "parts": ["../medium"]},
        {"do": "settle-box", "box": "../box", "parts": ["00" * 32]},
        {"do": "find-strays", "certificates": []},
        {"do": "find-strays", "certificates": [b"0"] * (STRAYS_LIMIT + 1)},
        {"do": "find-strays", "certificates": [bytes(1 << 15)]},
    ],
)
def test_what_is_outside_the_limits_is_no_request(fields: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        decode_command(fields)
