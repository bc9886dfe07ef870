"""What stations are answered, as it travels."""

import msgspec

from ceremonies.commands import Answer
from ceremonies.factory_results import DeviceIssued, DevicesIssued, StationShown, StationsListed
from ceremonies.outcomes import Problem, Proven


def test_a_batch_has_devices_and_problems_side_by_side() -> None:
    proven = Proven(1, b"entry", b"proof")
    device = DeviceIssued("S1", b"pem", b"chain", "01", False, proven, None, None, "ab" * 32)
    answer = Answer(7, DevicesIssued((device, Problem("serial-taken", "it is taken"))))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(answer), type=Answer) == answer


def test_who_comes_with_tokens_is_shown_by_pseudonym_alone() -> None:
    answer = Answer(7, StationsListed((StationShown("ab" * 16, "suspended"),)))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(answer), type=Answer) == answer
