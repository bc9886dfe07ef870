"""Reading exports, and writing what the service answered: never over another file without saying so, never outside
the directory.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

import msgspec

from api.cli.errors import FileRefused

FILE_LIMIT: Final = 64 << 20
USUAL: Final = 1 << 16
"""Space for more is asked for only when a file has more: a verifier reads millions of small ones."""

_PART: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


class Proven(msgspec.Struct, frozen=True):
    """Where the journal records a document: index, leaf text, C2SP tlog-proof, as the API writes them."""

    index: int
    entry: str
    proof: str


def read_file(path: Path, limit: int) -> bytes:
    """A file's bytes. Raises FileRefused when it is missing or larger than `limit`."""
    try:
        with path.open("rb") as file:
            data = file.read(min(limit, USUAL) + 1)
            if len(data) > USUAL:
                data += file.read(limit + 1 - len(data))
    except OSError as error:
        raise FileRefused(f"{path}: {error.strerror}") from error
    if len(data) > limit:
        raise FileRefused(f"{path} has more than {limit} bytes")
    return data


def write_file(path: Path, data: bytes) -> Path:
    """Write a file. One with the same bytes may stand there; another is kept, and FileRefused raised."""
    try:
        _create(path, data)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        _create(path, data)
    return path


def _create(path: Path, data: bytes) -> None:
    """One system call where nothing stands: an export has millions of files."""
    try:
        with path.open("xb") as file:
            file.write(data)
    except FileExistsError:
        if not (path.is_file() and path.read_bytes() == data):
            raise FileRefused(
                f"{path} exists and is another file", hint="name another directory, or remove it"
            ) from None


def write_secret(path: Path, data: bytes) -> None:
    """A new file that only its owner can read; one that stands there is replaced, at once for whoever reads it."""
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    part.touch(mode=0o600, exist_ok=False)
    part.write_bytes(data)
    part.replace(path)


def write_below(directory: Path, name: str, data: bytes) -> Path:
    """Write the file of an export under its relative path. Raises FileRefused for a path that could lead elsewhere."""
    parts = PurePosixPath(name).parts
    if not parts or "/".join(parts) != name or not all(_PART.fullmatch(part) for part in parts):
        raise FileRefused(f"the service sent a file named {name[:80]!r}", hint="do not trust this service")
    return write_file(directory.joinpath(*parts), data)


def write_proven(directory: Path, stem: str, proven: Proven) -> tuple[Path, Path]:
    """The entry as `<stem>.leaf.json` and its proof as `<stem>.tlog-proof`.

    An earlier proof is replaced: the same entry gets a newer one whenever the journal has grown.
    """
    leaf = write_file(directory / f"{stem}.leaf.json", proven.entry.encode())
    proof = directory / f"{stem}.tlog-proof"
    proof.write_bytes(proven.proof.encode())
    return leaf, proof


def list_files(directory: Path) -> Iterator[str]:
    """All files below a directory, relative with slashes. Raises FileRefused for links and other odd things."""
    if not directory.is_dir():
        raise FileRefused(f"{directory} is no directory")
    folders = [""]
    while folders:
        below = folders.pop()
        with os.scandir(f"{directory}/{below}") as found:
            kinds = {f"{below}{entry.name}": _is_folder(entry) for entry in found}
        folders += [f"{path}/" for path, is_folder in kinds.items() if is_folder]
        yield from (path for path, is_folder in kinds.items() if not is_folder)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder, and not a file."""
    if entry.is_dir(follow_symlinks=False):
        return True
    if entry.is_file(follow_symlinks=False):
        return False
    raise FileRefused(f"{entry.path} is a link or no file", hint="an export has plain files only")
