"""Receipts and challenges."""

import msgspec
import pytest

from tests.ceremonies.commands.framed import decode_command


@pytest.mark.req("FS-2")
@pytest.mark.parametrize(
    "fields",
    [
        {"do": "submit-receipts", "receipts": []},
        {"do": "submit-receipts", "receipts": [b""] * 257},
        {"do": "open-challenge", "id": "x" * 8, "campaign": bytes(15)},
    ],
)
def test_what_is_outside_the_limits_is_no_request(fields: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        decode_command(fields)
