"""What a settlement brings, compared with all that is known."""

from typing import Any

import msgspec

from ceremonies.arrivals import Arrivals, name_order, read_owner
from ceremonies.replicas import BoxCertificate
from ceremonies.statements import apply_changes
from ceremonies.tables import DeviceRow, ReservationRow
from tests.ceremonies.boxed import CA, Pair
from tests.ceremonies.small import act
from tests.world import CLASS

PUBLIC = bytes(91)
FIRST = BoxCertificate("A-1", "01" * 32, PUBLIC, "11" * 20, "dd" * 32, CLASS, "wo-1", rework=False, seq=5)


def other(**fields: Any) -> BoxCertificate:
    return msgspec.structs.replace(FIRST, **fields)


def test_a_key_a_serial_and_a_number_come_once(pair: Pair) -> None:
    room = pair.centre.room
    box = room.ledger.replay.grants.boxes[CA]
    issued = [
        FIRST,
        other(number="22" * 20, spki="02" * 32, rework=True, document="ee" * 32),
        other(number="22" * 20, spki="03" * 32, serial="A-2"),
        other(number="33" * 20, serial="A-3"),
        other(number="44" * 20, spki="04" * 32),
        other(number="55" * 20, spki="05" * 32, serial="A-5", rework=True),
    ]

    def arrive(issued: list[BoxCertificate]) -> Arrivals:
        arrivals = Arrivals(room, box, issued)
        with room.store.write() as connection:
            apply_changes(connection, arrivals.changes(7))
        return arrivals

    first = act(pair.centre, lambda: arrive(issued))
    assert [item.code for item in first.findings] == ["number-twice", "key-clone", "serial-clone"]
    assert [item.serial for item in first.devices] == ["A-1", "A-5"]
    assert len(first.certificates) == 5
    row = room.store.find(DeviceRow, serial="A-1")
    assert row is not None and (row["spki"], row["certificate"]) == ("02" * 32, "ee" * 32)
    assert row["work_order"] == name_order(CA, "wo-1") == f"{CA}/wo-1"
    spent = room.store.find(ReservationRow, name=f"device-key:{'02' * 32}")
    assert spent is not None and read_owner(spent["owner"]) == "A-1"
    assert read_owner("order/wo-1:A-1:02") == ""
    again = [other(number="66" * 20, spki="06" * 32, rework=True), other(number="77" * 20, serial="A-7")]
    second = act(pair.centre, lambda: arrive(again))
    assert [item.code for item in second.findings] == ["key-clone"]
    assert second.devices == []


def test_nothing_leaves_no_row(pair: Pair) -> None:
    box = pair.centre.room.ledger.replay.grants.boxes[CA]
    assert act(pair.centre, lambda: Arrivals(pair.centre.room, box, ())).changes(1) == []
