"""Chunks and what they hash to."""

import msgspec
import pytest

from tests.ceremonies.commands.framed import decode_command


@pytest.mark.req("FS-2")
@pytest.mark.parametrize(
    "fields",
    [
        {"do": "upload", "digest": "0" * 64, "offset": -1, "data": b"", "final": True},
        {"do": "upload", "digest": "0" * 64, "offset": 0, "data": bytes((1 << 20) + 1), "final": True},
    ],
)
def test_what_is_outside_the_limits_is_no_request(fields: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        decode_command(fields)
