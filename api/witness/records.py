"""What a witness remembers: for each log the checkpoint that it cosigned last, and evidence of forks. Plain files.

`STATE/<sha256 of the origin>/checkpoint` is the note with the log's and the witness's signatures;
`.../evidence/fork-<digest>/` (two roots for one size: proven) and `.../evidence/proof-<digest>/` (a proof that failed)
hold `cosigned`, `request` (old size, proof, checkpoint) and `why`.
"""

import fcntl
import hashlib
import os
import shutil
from pathlib import Path

from api.witness.settings import WitnessMisconfigured

MAX_FORKS = 256
"""Proven forks that are kept for one log; a log that goes on forking shows nothing new."""

MAX_FAILED = 64
"""Failed proofs that are kept; the oldest go first, for anybody may send a false proof with a true checkpoint."""


class Records:
    """The records in one directory, of one process. Every write is on the disk when the call returns."""

    def __init__(self, path: Path) -> None:
        """Raises WitnessMisconfigured when there are no records (a witness that forgot must not go on), or when another
        process has them.
        """
        self._path = path
        if not path.is_dir():
            raise WitnessMisconfigured(
                f"the records {path} are missing",
                hint="restore the newest; when they are lost, retire this witness and `kedge witness init` another",
            )
        self._lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise WitnessMisconfigured(f"another witness has the records {path}", hint="stop it first") from error

    def close(self) -> None:
        """Let another process have the records."""
        os.close(self._lock)

    def read(self, name: str) -> bytes | None:
        """The cosigned checkpoint of the log whose origin has this SHA-256, or None."""
        try:
            return (self._path / name / "checkpoint").read_bytes()
        except FileNotFoundError:
            return None

    def keep(self, origin: str, note: bytes) -> None:
        """Replace the cosigned checkpoint of a log. A crash leaves the old or the new one."""
        write_file(self._path / origin_hash(origin) / "checkpoint", note)

    def keep_evidence(self, origin: str, cosigned: bytes, request: bytes, *, proven: bool, why: str) -> None:
        """Keep what shows a fork: the checkpoint that was cosigned, and the request that does not extend it."""
        kind, limit = ("fork", MAX_FORKS) if proven else ("proof", MAX_FAILED)
        folder = self._path / origin_hash(origin) / "evidence"
        digest = hashlib.sha256(cosigned.partition(b"\n\n")[0] + request).hexdigest()[:32]
        place = folder / f"{kind}-{digest}"
        earlier = sorted(folder.glob(f"{kind}-*"), key=lambda item: item.stat().st_mtime)
        if place in earlier or (proven and len(earlier) >= limit):
            return
        for item in earlier[: max(0, len(earlier) - limit + 1)]:
            shutil.rmtree(item)
        write_file(place / "cosigned", cosigned)
        write_file(place / "request", request)
        write_file(place / "why", f"{why}\n".encode())


def list_evidence(state: Path, origin: str) -> list[Path]:
    """The directories with evidence about a log."""
    folder = state / origin_hash(origin) / "evidence"
    return sorted(folder.iterdir()) if folder.exists() else []


def origin_hash(origin: str) -> str:
    """SHA-256 of an origin in lowercase hex: the log's name in paths (tlog-witness)."""
    return hashlib.sha256(origin.encode()).hexdigest()


def write_file(path: Path, data: bytes) -> None:
    """Replace a file in one step, durably, with every directory above it that is new."""
    made = [folder for folder in (path.parent, *path.parent.parents) if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    with fresh.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    for folder in (path.parent, *(folder.parent for folder in made)):
        sync_directory(folder)


def sync_directory(path: Path) -> None:
    """Put a directory's names on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
