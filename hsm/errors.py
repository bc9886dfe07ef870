"""The errors of the strongbox. Each says what happened, to which token and key, in which call, and what to do."""

from collections.abc import Mapping
from typing import ClassVar, Final

from hsm.faults import Fault, fault_of


class HsmError(Exception):
    """What happened, to which token and key, in which call, and what to do next.

    `code` is the stable, kebab-case name that travels to callers; `rv` is the CKR name, empty when PKCS#11 did not
    refuse anything itself; `fault` says what the failure asks for; `details` are facts for a program.
    """

    code: ClassVar[str] = "hsm-error"
    default_fault: ClassVar[Fault] = Fault.CALLER

    def __init__(self, message: str, *, hint: str = "", rv: str = "", details: Mapping[str, int] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.rv = rv
        self.details: Mapping[str, int] = dict(details or {})
        self.fault = fault_of(rv) if rv else self.default_fault


class ModuleUnloadable(HsmError):
    """The PKCS#11 library is missing or is none."""

    code = "hsm-module-unloadable"


class ModuleInUse(HsmError):
    """This process has initialised the PKCS#11 library already; a second login path is refused."""

    code = "hsm-module-in-use"


class WrongThread(HsmError):
    """A call came from another thread than the one that opened the strongbox."""

    code = "hsm-wrong-thread"


class WrongProcess(HsmError):
    """A call came from a forked child: a PKCS#11 library does not survive a fork."""

    code = "hsm-wrong-process"


class StrongboxClosed(HsmError):
    """A call came after close."""

    code = "hsm-closed"


class StrongboxEnded(HsmError):
    """The process that holds the tokens has ended."""

    code = "hsm-ended"


class RequestInvalid(HsmError):
    """An argument is outside what the strongbox accepts."""

    code = "hsm-request-invalid"


class TokenNotFound(HsmError):
    """No token has the label. The module may find it when it is loaded again."""

    code = "hsm-token-not-found"
    default_fault = Fault.RELOAD


class TokenAmbiguous(HsmError):
    """More than one token has the label."""

    code = "hsm-token-ambiguous"
    default_fault = Fault.STOP


class TokenExists(HsmError):
    """A token that has the label exists and is not initialised again."""

    code = "hsm-token-exists"


class TokenReplaced(HsmError):
    """The token with this label has another serial number than at the start."""

    code = "hsm-token-replaced"
    default_fault = Fault.STOP


class NoFreeSlot(HsmError):
    """No slot holds a token that waits for its initialisation."""

    code = "hsm-no-free-slot"


class PinUnreadable(HsmError):
    """The PIN source gives no usable PIN."""

    code = "hsm-pin-unreadable"
    default_fault = Fault.STOP


class PinFileUnsafe(HsmError):
    """The PIN file can be read by others than the owner of this process."""

    code = "hsm-pin-file-unsafe"
    default_fault = Fault.STOP


class PinIncorrect(HsmError):
    """The token refused the PIN. It was tried once."""

    code = "hsm-pin-incorrect"


class PinLocked(HsmError):
    """The token has locked its PIN."""

    code = "hsm-pin-locked"


class KeyNotFound(HsmError):
    """No private key, or no public key beside it, has the id."""

    code = "hsm-key-not-found"
    default_fault = Fault.OTHER


class KeyExists(HsmError):
    """An object with the id exists already."""

    code = "hsm-key-exists"


class KeyAmbiguous(HsmError):
    """Two objects of one class have the same id."""

    code = "hsm-key-ambiguous"
    default_fault = Fault.STOP


class ForeignKey(HsmError):
    """The private key was not generated inside the token, or it was extractable once."""

    code = "hsm-foreign-key"
    default_fault = Fault.STOP


class KeyAltered(HsmError):
    """The private key does not have the attributes of a key made here."""

    code = "hsm-key-altered"
    default_fault = Fault.STOP


class PublicKeyDiffers(HsmError):
    """The public key under the id is not the registered one."""

    code = "hsm-public-key-differs"
    default_fault = Fault.STOP


class SignatureMismatch(HsmError):
    """The token's signature does not verify under the registered public key. Nothing was returned."""

    code = "hsm-signature-mismatch"
    default_fault = Fault.STOP


class MemoInvalid(HsmError):
    """A memo in the token is not one that was written here, or there are too many."""

    code = "hsm-memo-invalid"


class TokenUnavailable(HsmError):
    """The device or the library is gone and loading it again did not help or must wait."""

    code = "hsm-token-unavailable"
    default_fault = Fault.RELOAD


class SoftwareRefused(HsmError):
    """A module or token that came later than the start is SoftHSM, and only hardware is allowed."""

    code = "hsm-software-refused"
    default_fault = Fault.STOP


class CircuitOpen(TokenUnavailable):
    """The token failed again and again; nothing is asked of it until a probe succeeds. `details` say when to retry."""

    code = "hsm-circuit-open"


class CallRefused(HsmError):
    """PKCS#11 refused the arguments of a call."""

    code = "hsm-call-refused"


class CallFailed(HsmError):
    """A PKCS#11 call failed."""

    code = "hsm-call-failed"
    default_fault = Fault.OTHER


_LEAVES: Final[dict[str, tuple[type[HsmError], str]]] = {
    "CKR_PIN_INCORRECT": (PinIncorrect, "check the PIN source; it was tried once and is not tried again"),
    "CKR_PIN_LOCKED": (PinLocked, "the security officer must unlock the PIN of the token"),
    "CKR_KEY_FUNCTION_NOT_PERMITTED": (KeyAltered, "the key may not sign; compare the inventory with the journal"),
    "CKR_KEY_TYPE_INCONSISTENT": (KeyAltered, "the key has another type; compare the inventory with the journal"),
    "CKR_KEY_CHANGED": (KeyAltered, "compare the inventory with the journal"),
    "CKR_USER_PIN_NOT_INITIALIZED": (CallFailed, "the token was left half initialised; set its user PIN or remove it"),
    "CKR_CANT_LOCK": (CallFailed, "the module cannot lock; set os_locking to false"),
    "CKR_CRYPTOKI_ALREADY_INITIALIZED": (ModuleInUse, "close the other strongbox of this process first"),
}

_DEFAULTS: Final[dict[Fault, tuple[type[HsmError], str]]] = {
    Fault.RETRY: (CallFailed, "a new session did not help; look at the token and its log"),
    Fault.RELOAD: (TokenUnavailable, "look at the device and its connection; the module is loaded again every 30 s"),
    Fault.STOP: (CallFailed, "a person must look at the token before it is used again"),
    Fault.CALLER: (CallRefused, "the token does not support this request; it is not tried again"),
    Fault.OTHER: (CallFailed, "look at the token and its log"),
}


def refuse(rv: str, call: str, about: str) -> HsmError:
    """The error for a return value: `about` names token and key, `call` is the C_ function."""
    leaf, hint = _LEAVES.get(rv) or _DEFAULTS[fault_of(rv)]
    return leaf(f"{about}, {call}: {rv}", hint=hint, rv=rv)
