"""Answers about keys in hardware travel whole."""

import msgspec

from ceremonies.element_results import ElementShown, ElementsListed, ManifestChecked, RefusedElement, TpmChallenged


def test_answers_come_back_as_they_were_sent() -> None:
    for answer in (
        ManifestChecked({"-": 2}, (RefusedElement(3, "why"),), 1),
        ElementsListed((ElementShown("aa", "tpm", "bb", "A-1", 3),), "aa"),
        TpmChallenged("00", b"blob", b"seed", "aa", 7),
    ):
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(answer), type=type(answer)) == answer
