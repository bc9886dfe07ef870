"""Records of a logbook as JSON."""

import msgspec
import pytest

from api.cli.provisioning.records import Answered, Item, Opened, Queued, Record, Refused, Sent

RECORDS: list[Record] = [
    Opened("ab" * 32),
    Queued("issue", "wo-1", "S1", "/out", 1, 1, csr=b"\x30\x00"),
    Queued("confirm", "wo-1", "S1", "/out", 1, 2, chain_sha256="cd" * 32, signature=b"\x30\x01"),
    Sent([1, 2], 3),
    Answered(1, 4),
    Refused(2, 5, "key-known", "no", "quarantine"),
]


def test_they_come_back_as_they_were_written() -> None:
    assert msgspec.json.decode(msgspec.json.encode(RECORDS), type=list[Record]) == RECORDS


@pytest.mark.parametrize(
    ("state", "waits"), [("queued", True), ("sent", True), ("answered", False), ("refused", False)]
)
def test_what_waits(state: str, waits: bool) -> None:
    request = Queued("issue", "wo-1", "S1", "/out", 1)
    assert msgspec.convert({"request": request, "state": state}, Item, from_attributes=True).waits is waits
    assert request.name == ("issue", "wo-1", "S1")
