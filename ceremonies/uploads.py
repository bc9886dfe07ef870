"""Artefacts arrive in chunks and wait in the spool under their digest until a request names them."""

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
"""Artefacts, complete or not, that may wait; the oldest goes when another comes."""


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

    async def take(self, command: Upload, caller: Caller) -> Uploaded:
        """Append one chunk; hash the whole when it is the last. Chunks of one artefact come in order."""
        done = self._spool / command.digest
        if done.exists():
            return Uploaded(command.digest, done.stat().st_size, complete=True)
        # Parts are per caller, so that one cannot spoil another's upload of the same artefact.
        part = self._spool / f"{command.digest}.{caller.actor.sub[:16]}.part"
        size = part.stat().st_size if part.exists() and command.offset else 0
        if command.offset != size:
            part.unlink(missing_ok=True)
            raise UploadRefused(f"chunk at {command.offset}, {size} bytes are there", hint="begin the upload again")
        if size + len(command.data) > ARTEFACT_LIMIT:
            part.unlink(missing_ok=True)
            raise UploadRefused(f"artefact is over {ARTEFACT_LIMIT} bytes", hint="send only what the signature covers")
        if not size:
            self._make_space()
        with part.open("ab" if size else "wb") as file:
            file.write(command.data)
        size += len(command.data)
        if command.final:
            self._finish(part, done, command.digest)
        what = {"artefact": command.digest, "complete": command.final, "size": size}
        taken = entries.event("quota.spool", caller.actor, what)
        await self._room.act(lambda: self._room.ledger.record([taken]))
        return Uploaded(command.digest, size, complete=command.final)

    def _finish(self, part: Path, done: Path, digest: str) -> None:
        found = hashlib.sha256(part.read_bytes()).hexdigest()
        if found != digest:
            part.unlink()
            raise UploadRefused(f"artefact hashes to {found[:16]}, not to {digest[:16]}", hint="begin the upload again")
        part.replace(done)

    def _make_space(self) -> None:
        waiting = sorted(self._spool.iterdir(), key=lambda path: path.stat().st_mtime)
        for path in waiting[: max(0, len(waiting) - SPOOL_LIMIT + 1)]:
            log.info("spool is full, the oldest artefact goes", artefact=path.name)
            path.unlink()


def read_artefact(room: Room, digest: str) -> bytes:
    """The bytes of an uploaded artefact, hashed again. Raises ArtefactMissing."""
    path = room.settings.spool / digest
    data = path.read_bytes() if path.exists() else b""
    if hashlib.sha256(data).hexdigest() != digest:
        raise ArtefactMissing(f"artefact {digest[:16]} was not uploaded", hint="PUT /v1/artefacts/{sha256} first")
    return data
