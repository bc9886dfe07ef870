"""What a PKCS#11 return value asks for, as data.

The values and names follow PKCS#11 v2.40 and v3.0; the classes are rule 4 of the strongbox. python-pkcs11 turns most
return values into exceptions of their own and puts the rest into the text of `PKCS11Error`; the library calls made
through ctypes give the number itself. Both end in the CKR name.
"""

import re
from enum import Enum
from typing import Final

from pkcs11 import exceptions as p11


class Fault(Enum):
    """What a failed call asks for."""

    RETRY = "retry"  # a session or handle was lost: new session, new handles, once
    RELOAD = "reload"  # device or library state was lost: C_Finalize, C_Initialize, not often
    STOP = "stop"  # no retry, a person is needed
    CALLER = "caller"  # the request was wrong: no retry
    OTHER = "other"  # no rule: no retry here; another token may be able to do it


_R, _L, _S, _C, _O = Fault.RETRY, Fault.RELOAD, Fault.STOP, Fault.CALLER, Fault.OTHER

RETURN_VALUES: Final[tuple[tuple[int, str, type[p11.PKCS11Error] | None, Fault], ...]] = (
    (0x002, "CKR_HOST_MEMORY", p11.HostMemory, _O),
    (0x003, "CKR_SLOT_ID_INVALID", p11.SlotIDInvalid, _L),
    (0x005, "CKR_GENERAL_ERROR", p11.GeneralError, _O),
    (0x006, "CKR_FUNCTION_FAILED", p11.FunctionFailed, _O),
    (0x007, "CKR_ARGUMENTS_BAD", p11.ArgumentsBad, _C),
    (0x00A, "CKR_CANT_LOCK", None, _S),
    (0x010, "CKR_ATTRIBUTE_READ_ONLY", p11.AttributeReadOnly, _C),
    (0x011, "CKR_ATTRIBUTE_SENSITIVE", p11.AttributeSensitive, _C),
    (0x012, "CKR_ATTRIBUTE_TYPE_INVALID", p11.AttributeTypeInvalid, _C),
    (0x013, "CKR_ATTRIBUTE_VALUE_INVALID", p11.AttributeValueInvalid, _C),
    (0x01B, "CKR_ACTION_PROHIBITED", None, _C),
    (0x020, "CKR_DATA_INVALID", p11.DataInvalid, _C),
    (0x021, "CKR_DATA_LEN_RANGE", p11.DataLenRange, _C),
    (0x030, "CKR_DEVICE_ERROR", p11.DeviceError, _L),
    (0x031, "CKR_DEVICE_MEMORY", p11.DeviceMemory, _O),
    (0x032, "CKR_DEVICE_REMOVED", p11.DeviceRemoved, _L),
    (0x050, "CKR_FUNCTION_CANCELED", p11.FunctionCancelled, _O),
    (0x054, "CKR_FUNCTION_NOT_SUPPORTED", p11.FunctionNotSupported, _C),
    (0x060, "CKR_KEY_HANDLE_INVALID", p11.KeyHandleInvalid, _R),
    (0x062, "CKR_KEY_SIZE_RANGE", p11.KeySizeRange, _C),
    (0x063, "CKR_KEY_TYPE_INCONSISTENT", p11.KeyTypeInconsistent, _S),
    (0x065, "CKR_KEY_CHANGED", None, _S),
    (0x068, "CKR_KEY_FUNCTION_NOT_PERMITTED", None, _S),
    (0x070, "CKR_MECHANISM_INVALID", p11.MechanismInvalid, _C),
    (0x071, "CKR_MECHANISM_PARAM_INVALID", p11.MechanismParamInvalid, _C),
    (0x082, "CKR_OBJECT_HANDLE_INVALID", p11.ObjectHandleInvalid, _R),
    (0x090, "CKR_OPERATION_ACTIVE", p11.OperationActive, _R),
    (0x091, "CKR_OPERATION_NOT_INITIALIZED", p11.OperationNotInitialized, _R),
    (0x0A0, "CKR_PIN_INCORRECT", p11.PinIncorrect, _S),
    (0x0A1, "CKR_PIN_INVALID", p11.PinInvalid, _S),
    (0x0A2, "CKR_PIN_LEN_RANGE", p11.PinLenRange, _S),
    (0x0A3, "CKR_PIN_EXPIRED", p11.PinExpired, _S),
    (0x0A4, "CKR_PIN_LOCKED", p11.PinLocked, _S),
    (0x0B0, "CKR_SESSION_CLOSED", p11.SessionClosed, _R),
    (0x0B1, "CKR_SESSION_COUNT", p11.SessionCount, _O),
    (0x0B3, "CKR_SESSION_HANDLE_INVALID", p11.SessionHandleInvalid, _R),
    (0x0B5, "CKR_SESSION_READ_ONLY", p11.SessionReadOnly, _C),
    (0x0B6, "CKR_SESSION_EXISTS", p11.SessionExists, _C),
    (0x0D0, "CKR_TEMPLATE_INCOMPLETE", p11.TemplateIncomplete, _C),
    (0x0D1, "CKR_TEMPLATE_INCONSISTENT", p11.TemplateInconsistent, _C),
    (0x0E0, "CKR_TOKEN_NOT_PRESENT", p11.TokenNotPresent, _L),
    (0x0E1, "CKR_TOKEN_NOT_RECOGNIZED", p11.TokenNotRecognised, _L),
    (0x0E2, "CKR_TOKEN_WRITE_PROTECTED", p11.TokenWriteProtected, _S),
    (0x100, "CKR_USER_ALREADY_LOGGED_IN", p11.UserAlreadyLoggedIn, _O),
    (0x101, "CKR_USER_NOT_LOGGED_IN", p11.UserNotLoggedIn, _R),
    (0x102, "CKR_USER_PIN_NOT_INITIALIZED", p11.UserPinNotInitialized, _S),
    (0x104, "CKR_USER_ANOTHER_ALREADY_LOGGED_IN", p11.AnotherUserAlreadyLoggedIn, _S),
    (0x105, "CKR_USER_TOO_MANY_TYPES", p11.UserTooManyTypes, _O),
    (0x121, "CKR_RANDOM_NO_RNG", p11.RandomNoRNG, _C),
    (0x130, "CKR_DOMAIN_PARAMS_INVALID", p11.DomainParamsInvalid, _C),
    (0x140, "CKR_CURVE_NOT_SUPPORTED", None, _C),
    (0x150, "CKR_BUFFER_TOO_SMALL", None, _O),
    (0x190, "CKR_CRYPTOKI_NOT_INITIALIZED", None, _L),
    (0x191, "CKR_CRYPTOKI_ALREADY_INITIALIZED", None, _S),
    (0x200, "CKR_FUNCTION_REJECTED", p11.FunctionRejected, _S),
)

_BY_VALUE: Final = {value: name for value, name, _, _ in RETURN_VALUES}
_BY_EXCEPTION: Final = {exception: name for _, name, exception, _ in RETURN_VALUES if exception}
_FAULTS: Final = {name: fault for _, name, _, fault in RETURN_VALUES}
_UNMAPPED: Final = re.compile(r"Unmapped error code 0x([0-9a-f]+)")
_IN_WORDS: Final = (
    ("not initialized", "CKR_CRYPTOKI_NOT_INITIALIZED"),
    ("already initialized", "CKR_CRYPTOKI_ALREADY_INITIALIZED"),
    ("Buffer was too small", "CKR_BUFFER_TOO_SMALL"),
)


def rv_name(value: int) -> str:
    """The CKR name of a return value; an unknown one as `CKR_0x...`."""
    return _BY_VALUE.get(value, f"CKR_0x{value:08x}")


def rv_of(error: p11.PKCS11Error) -> str:
    """The CKR name behind a python-pkcs11 exception; its class name when it stands for none."""
    known = _BY_EXCEPTION.get(type(error))
    if known:
        return known
    text = str(error)
    unmapped = _UNMAPPED.search(text)
    if unmapped:
        return rv_name(int(unmapped.group(1), 16))
    return next((name for words, name in _IN_WORDS if words in text), type(error).__name__)


def fault_of(rv: str) -> Fault:
    """What a CKR name asks for; OTHER (no retry here) when there is no rule."""
    return _FAULTS.get(rv, Fault.OTHER)
