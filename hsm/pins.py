"""Where a PIN comes from. A PIN never becomes a Python string or bytes object, so no repr and no traceback shows it."""

import ctypes
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NoReturn

from hsm.errors import HsmError, PinFileUnsafe, PinUnreadable

MIN_PIN_BYTES: Final = 4
MAX_PIN_BYTES: Final = 255

Secret = ctypes.Array[ctypes.c_char]
"""Bytes in memory that can be overwritten and whose repr shows only their type and length."""


class PinSource:
    """A PIN that is read when a token is opened: from a file that only its owner can read, or an inherited descriptor.

    A file is read anew at each login. A descriptor can be read only once, so its PIN stays in memory for the logins
    after a reload of the module. One newline at the end is not part of the PIN.
    """

    __slots__ = ("_kept", "_source")

    def __init__(self, source: Path | int) -> None:
        self._source = source
        self._kept: Secret | None = None

    @classmethod
    def from_file(cls, path: Path) -> "PinSource":
        """A file, owned by the user of this process, without any permission for group and others, no symbolic link."""
        return cls(path)

    @classmethod
    def from_descriptor(cls, descriptor: int) -> "PinSource":
        """An inherited file descriptor; it is read to its end and closed at the first use."""
        return cls(descriptor)

    def __repr__(self) -> str:
        return f"PinSource({self._name()})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a PIN source is not copied and not sent anywhere")

    @contextmanager
    def reveal(self) -> Iterator[Secret]:
        """The PIN for the length of a `with` block; overwritten afterwards.

        Raises PinUnreadable (missing, not 4 to 255 bytes, control characters) and PinFileUnsafe.
        """
        secret = self._kept
        if secret is None:
            source = self._source
            secret = self._read_file(source) if isinstance(source, Path) else self._read_descriptor(source)
        try:
            yield secret
        finally:
            if secret is not self._kept:
                wipe(secret)

    def _name(self) -> str:
        return f"{'file' if isinstance(self._source, Path) else 'descriptor'} {self._source}"

    def _read_file(self, path: Path) -> Secret:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError as error:
            raise self._unreadable(error.strerror or "cannot be opened") from None
        try:
            self._check_permissions(os.fstat(descriptor))
            return self._read(descriptor)
        finally:
            os.close(descriptor)

    def _read_descriptor(self, descriptor: int) -> Secret:
        try:
            self._kept = self._read(descriptor)
        except OSError as error:
            raise self._unreadable(error.strerror or "cannot be read") from None
        os.close(descriptor)
        return self._kept

    def _check_permissions(self, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            raise self._unreadable("is not a regular file")
        if status.st_uid != os.geteuid():
            raise PinFileUnsafe(
                f"PIN {self._name()} belongs to uid {status.st_uid}, this process runs as uid {os.geteuid()}",
                hint="give the file to the user of the keyroom",
            )
        if status.st_mode & 0o077:
            raise PinFileUnsafe(
                f"PIN {self._name()} has mode {stat.S_IMODE(status.st_mode):04o}",
                hint="chmod 0400 it, and change the PIN: others could read it",
            )

    def _read(self, descriptor: int) -> Secret:
        buffer = (ctypes.c_char * (MAX_PIN_BYTES + 2))()
        view = memoryview(buffer).cast("B")
        length = 0
        try:
            while length < len(view) and (count := os.readv(descriptor, [view[length:]])):
                length += count
            if length and view[length - 1] == ord("\n"):
                length -= 1
            if not MIN_PIN_BYTES <= length <= MAX_PIN_BYTES:
                raise self._unreadable(f"holds no PIN of {MIN_PIN_BYTES} to {MAX_PIN_BYTES} bytes")
            if any(byte < 0x20 for byte in view[:length]):
                raise self._unreadable("holds control characters")
            secret = (ctypes.c_char * length)()
            ctypes.memmove(secret, buffer, length)
            return secret
        finally:
            wipe(buffer)

    def _unreadable(self, reason: str) -> HsmError:
        return PinUnreadable(f"PIN {self._name()} {reason}", hint="write the PIN, and nothing else, to the PIN source")


def wipe(secret: Secret) -> None:
    """Overwrite a secret with zeros."""
    ctypes.memset(secret, 0, len(secret))
