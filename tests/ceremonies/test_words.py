"""Digests as PGP words."""

import hashlib

import pytest

from ceremonies.words import spell_digest

# The published example: the fingerprint E582 94F2 ... of the PGP manual, as the article "PGP word list" of Wikipedia.
FINGERPRINT = bytes.fromhex("E58294F2E9A227486E8B061B31CC528FD7FA3F19")
SPOKEN = (
    "topmost Istanbul Pluto vagabond treadmill Pacific brackish dictator goldfish Medusa "
    "afflict bravado chatter revolver Dupont midsummer stopwatch whimsical cowbell bottomless"
)
# Of the two lists in lower case, first the even one, one word per line, as magic-wormhole 0.24 (MIT) has them.
LISTS_SHA256 = "0847bcad4a09374ec628019e7c3e3eeee1dfa2f3870168eaa306310eeda40ff5"


@pytest.mark.req("MP-7")
def test_the_published_example() -> None:
    assert " ".join(spell_digest(FINGERPRINT)) == SPOKEN


def test_the_example_of_another_implementation() -> None:
    # From the manual page of Perl's Encode::Wordlist::PGP 1.1.
    spoken = (
        "cranky equipment preshrunk Babylon chairlift midsummer brickyard Camelot sentence specialist "
        "ahead clergyman flagpole bottomless endorse pharmacy spheroid embezzle scorecard Waterloo"
    )
    assert " ".join(spell_digest(bytes.fromhex("41559711308F2A21B9D5072D621958AFCB50B5F9"))) == spoken


@pytest.mark.req("MP-7")
def test_the_lists_are_complete_and_have_no_word_in_common() -> None:
    """So a word that is left out, doubled or swapped with its neighbour is heard: it is of the other list."""
    every = bytes(value for value in range(256) for _ in range(2))
    spoken = [word.lower() for word in spell_digest(every)]
    assert len(set(spoken)) == 512
    lists = "\n".join(spoken[0::2] + spoken[1::2]) + "\n"
    assert hashlib.sha256(lists.encode()).hexdigest() == LISTS_SHA256
