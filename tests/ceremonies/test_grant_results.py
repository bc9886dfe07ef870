"""Answers about site boxes travel whole."""

import msgspec

from ceremonies.grant_results import GrantsListed
from tests.api.answers import GRANTS, SETTLED


def test_answers_come_back_as_they_were_sent() -> None:
    for answer in (GRANTS, SETTLED):
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(answer), type=type(answer)) == answer
    assert isinstance(GRANTS, GrantsListed)
