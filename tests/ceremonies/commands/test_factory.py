"""Device requests, one and many."""

import msgspec
import pytest

from tests.ceremonies.commands.framed import decode_command


@pytest.mark.req("FS-2")
@pytest.mark.parametrize(
    "fields",
    [
        {"do": "issue-devices", "work_order": "wo-1", "items": []},
        {"do": "issue-devices", "work_order": "wo-1", "items": [{"serial": "S", "csr": b""}] * 1001},
        {"do": "issue-devices", "work_order": "wo-1", "items": [{"serial": "S", "csr": b"", "surplus": 1}]},
    ],
)
def test_what_is_outside_the_limits_is_no_request(fields: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        decode_command(fields)
