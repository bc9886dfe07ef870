"""Answers about the fleet travel whole, and what is empty is left out of a page of a thousand devices."""

import msgspec

from ceremonies.register_results import FleetDevice, FleetQueried, StatementsRecorded, StatementVerdict


def test_answers_come_back_as_they_were_sent() -> None:
    device = FleetDevice("A-1", "bms", "01ab", "wo-1", "installed", floors={"2": 3}, stable=True)
    for answer in (
        FleetQueried((device,), "A-1", 3),
        StatementsRecorded((StatementVerdict("A-1", "shipped"),), 3, True),
    ):
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(answer), type=type(answer)) == answer
    assert b"rack" not in msgspec.msgpack.encode(device)
