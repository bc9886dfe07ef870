"""Confirmations, rework, scrap, reports."""

import msgspec
import pytest

from tests.ceremonies.commands.framed import decode_command

ITEM = {"serial": "S", "chain_sha256": "0" * 64, "signature": bytes(64)}


@pytest.mark.req("FS-2", "T19")
@pytest.mark.parametrize(
    "fields",
    [
        {"do": "confirm-device", "work_order": "wo-1", **ITEM, "chain_sha256": "0" * 63},
        {"do": "confirm-device", "work_order": "wo-1", **ITEM, "signature": bytes(81)},
        {"do": "confirm-device", "work_order": "wo-1", **ITEM, "signature": b""},
        {"do": "confirm-devices", "work_order": "wo-1", "items": []},
        {"do": "confirm-devices", "work_order": "wo-1", "items": [ITEM] * 1001},
        {"do": "confirm-devices", "work_order": "wo-1", "items": [{**ITEM, "surplus": 1}]},
        {"do": "permit-rework", "work_order": "wo-1", "serial": "S", "reason": ""},
        {"do": "scrap-device", "work_order": "wo-1", "serial": "S", "reason": "x" * 257},
        {"do": "scrap-device", "work_order": "wo-1", "serial": "../S", "reason": "x"},
        {"do": "report-units", "work_order": "wo-1", "state": "built"},
        {"do": "report-units", "work_order": "wo-1", "limit": 1001},
        {"do": "report-units", "work_order": "wo-1", "after": "a b"},
    ],
)
def test_what_is_outside_the_limits_is_no_request(fields: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        decode_command(fields)
