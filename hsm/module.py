"""A PKCS#11 library in this process.

python-pkcs11 calls C_Initialize(NULL), which lets no second thread in, and has no C_InitToken. Both, the login and the
signature go through the library's own function list with ctypes; sessions, objects and attributes through
python-pkcs11. Both see the same handles. The calls through ctypes return the exact CKR value of the exact call.
"""

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pkcs11 import SlotFlag, TokenFlag
from pkcs11 import types as p11
from pkcs11._pkcs11 import lib
from pkcs11.exceptions import PKCS11Error

from hsm.errors import HsmError, ModuleUnloadable, NoFreeSlot, TokenAmbiguous, TokenNotFound, refuse
from hsm.faults import rv_name, rv_of
from hsm.pins import Secret

_ULONG: Final = ctypes.c_ulong
_POINTER: Final = ctypes.c_void_p
_OS_LOCKING_OK: Final = 0x02  # CKF_OS_LOCKING_OK
_USER: Final = 1  # CKU_USER
_LOGGED_IN_STATES: Final = (1, 3)  # CKS_RO_USER_FUNCTIONS, CKS_RW_USER_FUNCTIONS
_LABEL_BYTES: Final = 32

# The start of CK_FUNCTION_LIST (PKCS#11 v2.40 section 3.7), in order; the calls used here have their parameters.
_FUNCTIONS: Final[tuple[tuple[str, tuple[type, ...]], ...]] = (
    ("C_Initialize", (_POINTER,)),
    ("C_Finalize", (_POINTER,)),
    *((name, ()) for name in ("C_GetInfo", "C_GetFunctionList", "C_GetSlotList", "C_GetSlotInfo", "C_GetTokenInfo")),
    *((name, ()) for name in ("C_GetMechanismList", "C_GetMechanismInfo")),
    ("C_InitToken", (_ULONG, _POINTER, _ULONG, ctypes.c_char_p)),
    ("C_InitPIN", (_ULONG, _POINTER, _ULONG)),
    *((name, ()) for name in ("C_SetPIN", "C_OpenSession", "C_CloseSession", "C_CloseAllSessions")),
    ("C_GetSessionInfo", (_ULONG, _POINTER)),
    *((name, ()) for name in ("C_GetOperationState", "C_SetOperationState")),
    ("C_Login", (_ULONG, _ULONG, _POINTER, _ULONG)),
    *((name, ()) for name in ("C_Logout", "C_CreateObject", "C_CopyObject", "C_DestroyObject", "C_GetObjectSize")),
    *((name, ()) for name in ("C_GetAttributeValue", "C_SetAttributeValue")),
    *((name, ()) for name in ("C_FindObjectsInit", "C_FindObjects", "C_FindObjectsFinal")),
    *((name, ()) for name in ("C_EncryptInit", "C_Encrypt", "C_EncryptUpdate", "C_EncryptFinal")),
    *((name, ()) for name in ("C_DecryptInit", "C_Decrypt", "C_DecryptUpdate", "C_DecryptFinal")),
    *((name, ()) for name in ("C_DigestInit", "C_Digest", "C_DigestUpdate", "C_DigestKey", "C_DigestFinal")),
    ("C_SignInit", (_ULONG, _POINTER, _ULONG)),
    ("C_Sign", (_ULONG, ctypes.c_char_p, _ULONG, _POINTER, _POINTER)),
)


class _FunctionList(ctypes.Structure):
    _fields_ = (("version", ctypes.c_ubyte * 2), *((name, _POINTER) for name, _ in _FUNCTIONS))


class _InitializeArguments(ctypes.Structure):
    """CK_C_INITIALIZE_ARGS (PKCS#11 v2.40 section 3.7)."""

    _fields_ = (
        *((name, _POINTER) for name in ("create_mutex", "destroy_mutex", "lock_mutex", "unlock_mutex")),
        ("flags", _ULONG),
        ("reserved", ctypes.c_char_p),
        ("reserved_after_nss", _POINTER),  # the NSS softoken reads `reserved` as its parameters, and one pointer more
    )


class _SessionInfo(ctypes.Structure):
    """CK_SESSION_INFO (PKCS#11 v2.40 section 3.4)."""

    _fields_ = (("slot", _ULONG), ("state", _ULONG), ("flags", _ULONG), ("device_error", _ULONG))


class _Library(lib):
    """python-pkcs11's view of the library; `Module` initialises and finalises it, this class must not."""

    def initialize(self) -> None:
        """Do nothing: see Module.initialise."""


class Module:
    """One PKCS#11 library, initialised. A process has at most one Module of a library at a time.

    parameters: what C_Initialize gets as its reserved argument, for libraries that take their configuration there.
    Raises ModuleUnloadable, and ModuleInUse when this process has initialised the library already.
    """

    def __init__(self, path: Path, *, os_locking: bool = False, parameters: str = "") -> None:
        self.path = path
        self._parameters = parameters
        self._os_locking = os_locking
        self._functions = _load_functions(path)
        self.initialise()
        try:
            self._library = _Library(str(path))
        except PKCS11Error as error:
            self.finalise()
            raise refuse(rv_of(error), "C_GetInfo", f"module {path}") from error
        self.description = f"{self._library.manufacturer_id} {self._library.library_description}"

    def call(self, name: str, *arguments: object, about: str) -> None:
        """Call a function of the library. Raises the error for its return value, naming the call and `about`."""
        rv = self._functions[name](*arguments)
        if rv:
            raise refuse(rv_name(rv), name, about)

    def function(self, name: str) -> Callable[..., int]:
        """A function of the library for a loop that must be quick: it returns the CKR value."""
        return self._functions[name]

    def initialise(self) -> None:
        """C_Initialize, with locking by the operating system when several threads will call."""
        flags, reserved = _OS_LOCKING_OK if self._os_locking else 0, self._parameters.encode() or None
        arguments = _InitializeArguments(flags=flags, reserved=reserved)
        pointer = ctypes.addressof(arguments) if flags or reserved else None
        self.call("C_Initialize", pointer, about=f"module {self.path}")

    def finalise(self) -> None:
        """C_Finalize: every session, login and handle of this process is gone afterwards."""
        self.call("C_Finalize", None, about=f"module {self.path}")

    def find_token(self, label: str, serial: str = "") -> p11.Token:
        """The one token with a label, and with a serial number where one is given. Raises TokenNotFound and
        TokenAmbiguous.
        """
        with translate("C_GetTokenInfo", f"token {label}"):
            tokens = [token for token in self._library.get_tokens() if token.label == label]
            tokens = [token for token in tokens if serial in ("", token.serial.decode("ascii", "replace"))]
        if not tokens:
            raise TokenNotFound(
                f"module {self.path} has no token {label}{f' with serial {serial}' if serial else ''}",
                hint="initialise it, or correct the label; for SoftHSM, set SOFTHSM2_CONF as when it was made",
            )
        if len(tokens) > 1:
            serials = ", ".join(token.serial.decode("ascii", "replace") for token in tokens)
            raise TokenAmbiguous(
                f"module {self.path} has {len(tokens)} tokens {label}: {serials}", hint="one label, one token"
            )
        return tokens[0]

    def find_free_slot(self) -> int:
        """The number of a slot whose token is not initialised. Raises NoFreeSlot."""
        with translate("C_GetSlotList", f"module {self.path}"):
            for slot in self._library.get_slots():
                if SlotFlag.TOKEN_PRESENT in slot.flags and not slot.get_token().flags & TokenFlag.TOKEN_INITIALIZED:
                    return slot.slot_id
        raise NoFreeSlot(f"module {self.path} has no slot for a new token", hint="add a slot or a partition")

    def initialise_token(self, slot: int, label: str, so_pin: Secret) -> None:
        """C_InitToken. It erases what the slot's token holds: call it with a free slot only."""
        padded = label.encode().ljust(_LABEL_BYTES)
        self.call("C_InitToken", slot, so_pin, len(so_pin), padded, about=f"token {label}")

    def initialise_pin(self, session: int, pin: Secret, about: str) -> None:
        """C_InitPIN: set the user PIN in a session of the security officer."""
        self.call("C_InitPIN", session, pin, len(pin), about=about)

    def login(self, session: int, pin: Secret, *, about: str, user: int = _USER) -> None:
        """C_Login, once. Raises PinIncorrect, PinLocked."""
        self.call("C_Login", session, user, pin, len(pin), about=about)

    def is_logged_in(self, session: int, about: str) -> bool:
        """Whether the user is logged in: the login belongs to the process, not to the session."""
        info = _SessionInfo()
        self.call("C_GetSessionInfo", session, ctypes.addressof(info), about=about)
        return info.state in _LOGGED_IN_STATES


@contextmanager
def translate(call: str, about: object) -> Iterator[None]:
    """Turn what python-pkcs11 raises inside the block into an error of this room."""
    try:
        yield
    except PKCS11Error as error:
        raise refuse(rv_of(error), call, str(about)) from error


def _load_functions(path: Path) -> dict[str, Callable[..., int]]:
    pointer = ctypes.POINTER(_FunctionList)()
    try:
        get_list = ctypes.CDLL(str(path)).C_GetFunctionList
    except (OSError, AttributeError) as error:
        raise ModuleUnloadable(
            f"module {path} is not a PKCS#11 library: {error}", hint="install it, or correct the path"
        ) from error
    if rv := get_list(ctypes.byref(pointer)):
        raise _not_listed(path, rv)
    table = pointer.contents
    return {name: ctypes.CFUNCTYPE(_ULONG, *types)(getattr(table, name)) for name, types in _FUNCTIONS if types}


def _not_listed(path: Path, rv: int) -> HsmError:
    return refuse(rv_name(rv), "C_GetFunctionList", f"module {path}")
