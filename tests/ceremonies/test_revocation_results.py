"""Answers about certificates travel whole."""

import msgspec

from ceremonies.commands import Answer
from tests.api.answers import CERTIFICATE, LISTED


def test_they_come_back_as_they_were_sent() -> None:
    answer = Answer(9, CERTIFICATE)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(answer), type=Answer) == answer
    assert LISTED.path.startswith("crl/")
