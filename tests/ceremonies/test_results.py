"""Answers travel whole: every kind of result comes back as it was sent."""

import typing

import msgspec
import pytest

from ceremonies import results
from ceremonies.commands import Answer
from ceremonies.outcomes import Problem, Proven
from ceremonies.results import AnyResult, DocumentsListed, ProofShown, Uploaded

KINDS = typing.get_args(AnyResult)


def test_every_kind_of_result_has_its_own_tag() -> None:
    tags = [str(kind.__struct_config__.tag) for kind in (*KINDS, Problem)]
    assert len(set(tags)) == len(tags)
    tagged = {item for item in vars(results).values() if isinstance(item, type) and issubclass(item, msgspec.Struct)}
    assert {item for item in tagged if item.__struct_config__.tag} <= {*KINDS, Problem}


@pytest.mark.parametrize(
    "result",
    [
        Problem("serial-taken", "it is taken", "call the supervisor", {"devices": {"BMS-1": "silent"}}),
        Uploaded("0" * 64, 12, complete=True),
        ProofShown(Proven(3, b"{}", b"c2sp.org/tlog-proof@v1\n")),
        DocumentsListed((("set-0-0", "0" * 64, b"\xd8\x62"),)),
    ],
)
def test_a_result_comes_back_as_it_was_sent(result: AnyResult | Problem) -> None:
    answer = Answer(9, result)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(answer), type=Answer) == answer
