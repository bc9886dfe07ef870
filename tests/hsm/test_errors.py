import re

import pytest

from hsm import errors
from hsm.errors import CallFailed, CallRefused, HsmError, KeyAltered, PinIncorrect, TokenUnavailable, refuse
from hsm.faults import RETURN_VALUES, Fault


def leaves() -> list[type[HsmError]]:
    return [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, HsmError)]


def test_codes_are_kebab_case_and_unique() -> None:
    codes = [leaf.code for leaf in leaves()]
    assert len(codes) == len(set(codes)) > 20
    assert all(re.fullmatch(r"hsm(-[a-z]+)+", code) for code in codes)


@pytest.mark.parametrize(
    ("rv", "leaf"),
    [
        ("CKR_PIN_INCORRECT", PinIncorrect),
        ("CKR_KEY_FUNCTION_NOT_PERMITTED", KeyAltered),
        ("CKR_DEVICE_REMOVED", TokenUnavailable),
        ("CKR_MECHANISM_INVALID", CallRefused),
        ("CKR_SESSION_CLOSED", CallFailed),
        ("CKR_GENERAL_ERROR", CallFailed),
    ],
)
def test_refuse_names_object_call_and_value(rv: str, leaf: type[HsmError]) -> None:
    error = refuse(rv, "C_SignInit", "token kedge-root, key oem-root/1a")
    assert type(error) is leaf
    assert str(error) == error.message == f"token kedge-root, key oem-root/1a, C_SignInit: {rv}"
    assert error.rv == rv
    assert error.hint


def test_every_return_value_has_an_error_with_a_hint() -> None:
    for _, rv, _, fault in RETURN_VALUES:
        error = refuse(rv, "C_Sign", "token a")
        assert error.hint
        assert error.fault is fault


def test_an_error_without_a_return_value_has_the_fault_of_its_class() -> None:
    assert errors.SignatureMismatch("x").fault is Fault.STOP
    assert errors.RequestInvalid("x").fault is Fault.CALLER
