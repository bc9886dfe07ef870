"""Every refusal of the keyroom has a stable code of its own, and says what happened and what to do."""

import re

import pytest

import ceremonies.tokens  # noqa: F401 - its leaves belong to the tree that is walked here
from ceremonies.errors import ApprovalMismatch, KeyroomError, QuorumNotMet


def leaves(root: type[KeyroomError]) -> list[type[KeyroomError]]:
    return [root, *(leaf for child in root.__subclasses__() for leaf in leaves(child))]


def test_codes_are_kebab_case_and_unique() -> None:
    codes = [leaf.code for leaf in leaves(KeyroomError)]
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", code) for code in codes)
    assert len(set(codes)) == len(codes)


def test_an_error_carries_message_hint_and_a_copy_of_its_details() -> None:
    details = {"fields": ["draft"]}
    error = ApprovalMismatch("about something else", hint="sign again", details=details)
    details.clear()
    assert (str(error), error.message, error.hint) == ("about something else", "about something else", "sign again")
    assert error.details == {"fields": ["draft"]}
    assert QuorumNotMet("1 of 2").details == {}


def test_one_except_clause_catches_everything_of_the_keyroom() -> None:
    with pytest.raises(KeyroomError):
        raise QuorumNotMet("1 of 2 approvals")
