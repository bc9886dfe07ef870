"""Digests, paths and positions."""

import msgspec
import pytest

from tests.ceremonies.commands.framed import decode_command


@pytest.mark.req("FS-2")
@pytest.mark.parametrize(
    "fields",
    [
        {"do": "read-document", "digest": "0" * 63},
        {"do": "read-document", "digest": "0" * 64 + "\n"},
        {"do": "list-trust-sets", "start": 1 << 53},
    ],
)
def test_what_is_outside_the_limits_is_no_request(fields: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        decode_command(fields)
