"""A medium: an export as one file, to be carried. POSIX ustar (IEEE Std 1003.1), as `tar --format=ustar` writes it.

Read strictly and never unpacked: plain files with short relative names, each once; directories are passed over; links,
devices and extended headers are refused. So a name leads nowhere, and what is not there cannot be asked for.
"""

import re
from collections.abc import Callable, Iterable, Iterator

import msgspec

from pki.log.errors import AuditFailed

BLOCK = 512
FILE_LIMIT = 64 << 20
FILES_LIMIT = 4_000_000

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*", re.ASCII)
_OCTAL = re.compile(rb"[0-7]{1,11}[ \0]{0,11}")
_MAGIC = b"ustar\00000"

Read = Callable[[int, int], bytes]
"""Offset and length to bytes; fewer at the end."""


class Place(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Where a file lies in the medium."""

    offset: int
    size: int


def list_files(read: Read) -> dict[str, Place]:
    """Every file of a medium by its name. Raises AuditFailed, which names the first thing that is none."""
    found: dict[str, Place] = {}
    for name, place in _walk(read):
        if name in found:
            raise AuditFailed(f"{name}: it is there twice in the medium", path=name)
        if len(found) >= FILES_LIMIT:
            raise AuditFailed(f"the medium has more than {FILES_LIMIT} files", hint="carry increments")
        found[name] = place
    return found


def _walk(read: Read) -> Iterator[tuple[str, Place]]:
    at = 0
    while True:
        header = read(at, BLOCK)
        if header == bytes(BLOCK):
            return
        if len(header) < BLOCK:
            raise AuditFailed(f"the medium ends at byte {at}, in the middle", hint="copy it again")
        name, size, kind = _read_header(at, header)
        if kind == b"0":
            yield name, Place(at + BLOCK, size)
        at += BLOCK + -(-size // BLOCK) * BLOCK


def _read_header(at: int, header: bytes) -> tuple[str, int, bytes]:
    """Name, size and kind of what follows: a file (0) or a directory (5)."""
    total = sum(header[:148]) + 8 * 0x20 + sum(header[156:])
    fields = header[124:136], header[148:156]
    if not all(_OCTAL.fullmatch(field) for field in fields) or int(fields[1].rstrip(b" \0"), 8) != total:
        raise AuditFailed(f"byte {at} of the medium begins no file: damaged, or no ustar archive", hint="copy it again")
    size, kind = int(fields[0].rstrip(b" \0"), 8), header[156:157]
    name = header[:100].rstrip(b"\0").decode("latin-1").removeprefix("./")
    if kind == b"5" and size == 0:
        return name, 0, kind
    if kind != b"0" or header[257:265] != _MAGIC or any(header[345:500]) or not _NAME.fullmatch(name):
        raise AuditFailed(f"{name[:80]!r} is no plain file of an export", hint="write it with `tar --format=ustar`")
    if size > FILE_LIMIT:
        raise AuditFailed(f"{name}: {size} bytes, at most {FILE_LIMIT} are read", path=name)
    return name, size, kind


def write_medium(names: Iterable[str], load: Callable[[str], bytes]) -> Iterator[bytes]:
    """The bytes of a medium with these files, in order; the same for the same files."""
    for name in sorted(names):
        data = load(name)
        yield _write_header(name, len(data)) + data + bytes(-len(data) % BLOCK)
    yield bytes(2 * BLOCK)


def _write_header(name: str, size: int) -> bytes:
    if len(name) > 100 or not _NAME.fullmatch(name):
        raise AuditFailed(f"{name[:80]!r} is no file of an export", hint="an export has no surplus files")
    header = b"%b0000644\0%b%011o\0%011o\0        0" % (name.encode().ljust(100, b"\0"), b"0000000\0" * 2, size, 0)
    header = (header.ljust(257, b"\0") + _MAGIC).ljust(BLOCK, b"\0")
    return header[:148] + b"%06o\0 " % sum(header) + header[156:]
