"""Messages of CMP as they come on the wire."""

import msgspec
import pytest

from ceremonies.commands import TransactCmp
from pki.cmp.messages import LIMIT
from tests.ceremonies.commands.framed import decode_command


@pytest.mark.parametrize(
    "fields",
    [
        {"authority": "../a", "request": b"0"},
        {"authority": "device-ca", "request": bytes(LIMIT + 1)},
        {"authority": "device-ca", "request": b"0", "surplus": 1},
    ],
)
def test_what_is_outside_the_limits_is_no_request(fields: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        decode_command({"do": "transact-cmp", **fields})


def test_the_largest_message_that_is_read_passes() -> None:
    request = decode_command({"do": "transact-cmp", "authority": "device-ca", "request": bytes(LIMIT)})
    assert isinstance(request.command, TransactCmp)
    assert request.command.signs
