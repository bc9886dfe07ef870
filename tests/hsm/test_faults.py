import pytest
from pkcs11 import exceptions as p11

from hsm.faults import RETURN_VALUES, Fault, fault_of, rv_name, rv_of


def test_the_table_names_each_value_and_exception_once() -> None:
    for column in range(3):
        entries = [row[column] for row in RETURN_VALUES if row[column] is not None]
        assert len(entries) == len(set(entries))


@pytest.mark.parametrize(
    ("rv", "fault"),
    [
        ("CKR_SESSION_HANDLE_INVALID", Fault.RETRY),
        ("CKR_OBJECT_HANDLE_INVALID", Fault.RETRY),
        ("CKR_OPERATION_ACTIVE", Fault.RETRY),
        ("CKR_DEVICE_REMOVED", Fault.RELOAD),
        ("CKR_DEVICE_ERROR", Fault.RELOAD),
        ("CKR_CRYPTOKI_NOT_INITIALIZED", Fault.RELOAD),
        ("CKR_PIN_INCORRECT", Fault.STOP),
        ("CKR_PIN_LOCKED", Fault.STOP),
        ("CKR_KEY_FUNCTION_NOT_PERMITTED", Fault.STOP),
        ("CKR_MECHANISM_INVALID", Fault.CALLER),
        ("CKR_DATA_LEN_RANGE", Fault.CALLER),
        ("CKR_GENERAL_ERROR", Fault.OTHER),
        ("CKR_0x80000001", Fault.OTHER),
    ],
)
def test_each_return_value_asks_for_what_the_design_says(rv: str, fault: Fault) -> None:
    assert fault_of(rv) is fault


@pytest.mark.parametrize(
    ("error", "rv"),
    [
        (p11.DeviceRemoved(), "CKR_DEVICE_REMOVED"),
        (p11.PKCS11Error("Unmapped error code 0x68"), "CKR_KEY_FUNCTION_NOT_PERMITTED"),
        (p11.PKCS11Error("Unmapped error code 0x80000001"), "CKR_0x80000001"),
        (
            p11.PKCS11Error("Initialisation error (not initialized). Should never see this."),
            "CKR_CRYPTOKI_NOT_INITIALIZED",
        ),
        (p11.NoSuchKey(), "NoSuchKey"),
    ],
)
def test_a_python_exception_gets_its_name_back(error: p11.PKCS11Error, rv: str) -> None:
    assert rv_of(error) == rv


def test_values_have_names() -> None:
    assert rv_name(0xA0) == "CKR_PIN_INCORRECT"
    assert rv_name(0x80000001) == "CKR_0x80000001"
