"""Names of ceremonies and steps."""

import msgspec
import pytest

from tests.ceremonies.commands.framed import decode_command


@pytest.mark.req("FS-2")
@pytest.mark.parametrize(
    "fields",
    [
        {"do": "show-ceremony", "id": "../etc"},
        {"do": "show-ceremony", "id": "a" * 65},
    ],
)
def test_what_is_outside_the_limits_is_no_request(fields: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        decode_command(fields)
