"""What is outside its limits is no request."""

from typing import Any

import msgspec
import pytest

from tests.ceremonies.commands.framed import decode_command

UNIT: dict[str, Any] = {"work_order": "wo-1", "serial": "A-1"}
CHALLENGE = {"do": "challenge-tpm", **UNIT, "endorsement": b"0", "area": b"0"}


@pytest.mark.req("T19")
@pytest.mark.parametrize(
    "fields",
    [
        {"do": "check-manifest", "file": "00"},
        {"do": "list-elements", "limit": 1001},
        {"do": "list-elements", "after": "BMS-1"},
        {**CHALLENGE, "endorsement": bytes(16_385)},
        {**CHALLENGE, "area": bytes(1025)},
        {**CHALLENGE, "chain": [b"0"] * 5},
        {**CHALLENGE, "chain": [bytes(16_385)]},
        {"do": "activate-tpm", **UNIT, "challenge": "00", "secret": b"0"},
        {"do": "activate-tpm", **UNIT, "challenge": "00" * 16, "secret": bytes(65)},
    ],
)
def test_what_is_outside_the_limits_is_no_request(fields: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        decode_command(fields)


def test_a_challenge_may_come_without_a_chain() -> None:
    assert decode_command(CHALLENGE).command.chain == ()  # type: ignore[union-attr]  # it is the command above
