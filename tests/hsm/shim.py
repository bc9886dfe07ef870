"""A PKCS#11 module that fails, delays or hangs chosen calls and forwards the rest to SoftHSM (tests/hsm/shim.c).

Each `Shim` is a library file with a control file beside it, which the library maps: rules take effect at once, also in
another process. Two shims with copies of SoftHSM behind them are two devices, each with its own token directory.
"""

import mmap
import shutil
import struct
import subprocess
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

from hsm.faults import RETURN_VALUES
from tests.softhsm import find_module

SOURCE: Final = Path(__file__).with_name("shim.c")
HANG: Final = 2**64 - 1
FOREVER: Final = 2**64 - 1
VALUES: Final = {name: value for value, name, _, _ in RETURN_VALUES}
_PLACE: Final = 1024
_RULE: Final = struct.Struct("=6Q")
# CK_FUNCTION_LIST in order (PKCS#11 v2.40, pkcs11f.h).
_NAMES: Final = """
    Initialize Finalize GetInfo GetFunctionList GetSlotList GetSlotInfo GetTokenInfo GetMechanismList GetMechanismInfo
    InitToken InitPIN SetPIN OpenSession CloseSession CloseAllSessions GetSessionInfo GetOperationState
    SetOperationState Login Logout CreateObject CopyObject DestroyObject GetObjectSize GetAttributeValue
    SetAttributeValue FindObjectsInit FindObjects FindObjectsFinal EncryptInit Encrypt EncryptUpdate EncryptFinal
    DecryptInit Decrypt DecryptUpdate DecryptFinal DigestInit Digest DigestUpdate DigestKey DigestFinal SignInit Sign
    SignUpdate SignFinal SignRecoverInit SignRecover VerifyInit Verify VerifyUpdate VerifyFinal VerifyRecoverInit
    VerifyRecover DigestEncryptUpdate DecryptDigestUpdate SignEncryptUpdate DecryptVerifyUpdate GenerateKey
    GenerateKeyPair WrapKey UnwrapKey DeriveKey SeedRandom GenerateRandom GetFunctionStatus CancelFunction
    WaitForSlotEvent"""
FUNCTIONS: Final = tuple(f"C_{name}" for name in _NAMES.split())


class Shim:
    """The library `path`, made under `folder`; `conf` is its module's SOFTHSM2_CONF, empty for the process's own."""

    def __init__(self, folder: Path, name: str = "shim", *, conf: str = "", alone: bool = False) -> None:
        self.path = folder / f"{name}.so"
        shutil.copyfile(compile_shim(), self.path)
        module = find_module()
        if alone:  # a copy is another library to the loader, with tokens and sessions of its own
            module = folder / f"{name}-softhsm.so"
            shutil.copyfile(find_module(), module)
        places = b"".join(text.encode().ljust(_PLACE, b"\0") for text in (str(module), conf))
        control = self.path.with_name(f"{self.path.name}.control")
        control.write_bytes(places + bytes(_RULE.size * len(FUNCTIONS)))
        with control.open("r+b") as file:
            self._control = mmap.mmap(file.fileno(), 0)

    def calls(self, function: str) -> int:
        """How often a function was called."""
        return int(struct.unpack_from("=Q", self._control, self._at(function))[0])

    def all_calls(self) -> dict[str, int]:
        """How often each function was called; those that were."""
        return {name: count for name in FUNCTIONS if (count := self.calls(name))}

    def fail(self, function: str, rv: str | int, *, skip: int = 0, times: int = 1, after: bool = False) -> None:
        """The next call of a function, after `skip` more, and `times` in all, returns this value.

        `after`: the module does what was asked, and its answer is lost.
        """
        self._set(function, skip, times, (rv if isinstance(rv, int) else VALUES[rv], int(after), 0))

    def delay(self, function: str, milliseconds: int, *, skip: int = 0, times: int = 1) -> None:
        """The next calls take longer."""
        self._set(function, skip, times, (0, 0, milliseconds))

    def hang(self, function: str, *, skip: int = 0) -> None:
        """The next call never returns, nor does any after it."""
        self._set(function, skip, FOREVER, (0, 0, HANG))

    def heal(self) -> None:
        """No rule is left. What hangs goes on hanging."""
        for name in FUNCTIONS:
            struct.pack_into("=5Q", self._control, self._at(name) + 8, 0, 0, 0, 0, 0)

    def _set(self, function: str, skip: int, times: int, what: tuple[int, int, int]) -> None:
        at = self._at(function)
        first = self.calls(function) + 1 + skip
        last = FOREVER if times == FOREVER else first + times - 1
        # Last the number of the first call: before it is there, no call looks at the rest.
        struct.pack_into("=4Q", self._control, at + 16, last, *what)
        struct.pack_into("=Q", self._control, at + 8, first)

    def _at(self, function: str) -> int:
        return 2 * _PLACE + _RULE.size * FUNCTIONS.index(function)


@cache
def compile_shim() -> Path:
    """The shim as a library, compiled once per process. A machine without a C compiler fails the tests."""
    library = Path(mkdtemp(prefix="kedge-shim-")) / "shim.so"
    command = ["cc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run([*command, "-o", str(library), str(SOURCE), "-ldl"], check=True, timeout=60)
    return library
