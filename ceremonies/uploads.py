"""Artefacts arrive in chunks and wait in the spool until a request names them.

A file is named by digest and caller, `DIGEST.SUB`, with `.part` while it grows: no caller can spoil or evict what
another sent. The same artefact of two callers lies there twice.
"""

import asyncio
import contextlib
import hashlib
from pathlib import Path

import structlog

from ceremonies import entries
from ceremonies.commands import ARTEFACT_LIMIT, Upload, Uploaded
from ceremonies.desk import Caller
from ceremonies.errors import KeyroomError
from ceremonies.room import Room

log = structlog.get_logger()

SPOOL_LIMIT = 256
"""Artefacts of one caller, complete or not, that may wait; its oldest goes when another comes."""


class UploadRefused(KeyroomError):
    """A chunk does not follow the one before, is beyond the limit, or the whole has another digest."""

    code = "upload-refused"


class ArtefactMissing(KeyroomError):
    """A request names an artefact that was not uploaded."""

    code = "artefact-missing"


class Uploads:
    """Takes chunks. A caller's name for the artefact is its digest, so that nobody can put bytes under another's."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._spool = room.settings.spool
        # One chunk at a time: nothing is written to a part while it is hashed.
        self._turn = asyncio.Lock()

    async def take(self, command: Upload, caller: Caller) -> Uploaded:
        """Append one chunk; hash the whole when it is the last. Chunks of one artefact come in order."""
        done = self._spool / f"{command.digest}.{caller.actor.sub}"
        async with self._turn:
            if done.exists():
                return Uploaded(command.digest, done.stat().st_size, complete=True)
            size = self._append(command, done)
            if command.final:
                await asyncio.to_thread(finish_part, part_of(done), done, command.digest)
        what = {"artefact": command.digest, "complete": command.final, "size": size}
        taken = entries.event("quota.spool", caller.actor, what)
        await self._room.act(lambda: self._room.ledger.record([taken]))
        return Uploaded(command.digest, size, complete=command.final)

    def _append(self, command: Upload, done: Path) -> int:
        """The size of the part with this chunk. Raises UploadRefused."""
        part = part_of(done)
        size = part.stat().st_size if part.exists() and command.offset else 0
        if command.offset != size:
            part.unlink(missing_ok=True)
            raise UploadRefused(f"chunk at {command.offset}, {size} bytes are there", hint="begin the upload again")
        if size + len(command.data) > ARTEFACT_LIMIT:
            part.unlink(missing_ok=True)
            raise UploadRefused(f"artefact is over {ARTEFACT_LIMIT} bytes", hint="send only what the signature covers")
        if not size:
            self._make_space(done.suffix)
        with part.open("ab" if size else "wb") as file:
            file.write(command.data)
        return size + len(command.data)

    def _make_space(self, owner: str) -> None:
        """Let the oldest artefact of a caller go when it has too many; owner = "." and its `sub`."""
        own = (path for path in self._spool.iterdir() if owner in path.suffixes)
        waiting = sorted(own, key=lambda path: path.stat().st_mtime)
        for path in waiting[: max(0, len(waiting) - SPOOL_LIMIT + 1)]:
            log.info("spool is full, the oldest artefact goes", artefact=path.name)
            path.unlink()


def part_of(done: Path) -> Path:
    """Where an artefact grows."""
    return done.with_name(f"{done.name}.part")


def finish_part(part: Path, done: Path, digest: str) -> None:
    """Hash the whole and let it count, or forget it. Raises UploadRefused."""
    with part.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != digest:
        part.unlink()
        raise UploadRefused(f"artefact hashes to {found[:16]}, not to {digest[:16]}", hint="begin the upload again")
    part.replace(done)


def read_artefact(room: Room, digest: str) -> bytes:
    """The bytes of an artefact that anybody uploaded, hashed again. Raises ArtefactMissing."""
    for path in room.settings.spool.glob(f"{digest}.*"):
        with contextlib.suppress(FileNotFoundError):  # it went meanwhile
            data = path.read_bytes()
            if hashlib.sha256(data).hexdigest() == digest:
                return data
    raise ArtefactMissing(f"artefact {digest[:16]} was not uploaded", hint="PUT /v1/artefacts/{sha256} first")
