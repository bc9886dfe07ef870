"""The journal: public checkpoint and hash tiles from static files; entries, proofs and exports from the keyroom.

Paths, media types and caching as C2SP tlog-tiles says.
"""

import re
from pathlib import Path
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Query, Request, Response

from api.auth import Asking
from api.errors import NothingThere
from api.routes.encodings import DigestPath, Octets, Out, ProvenOut, binary
from ceremonies.commands import (
    DocumentRead,
    ExportJournal,
    ExportParty,
    JournalPart,
    ProofShown,
    ReadTile,
    ShowProof,
    SummarizeJournal,
    TileRead,
)

router = APIRouter(tags=["journal"])

_LEVEL: Final = re.compile(r"[0-9]|[1-5][0-9]|6[0-3]")
# The index in groups of three digits, all but the last with an x in front; a partial tile names its width, 1 to 255.
_INDEX: Final = re.compile(r"(?:x[0-9]{3}/){0,5}[0-9]{3}(?:\.p/(?:[1-9][0-9]?|1[0-9]{2}|2[0-4][0-9]|25[0-5]))?")
_NOTE: Final = "text/plain; charset=utf-8"
_TILE: Final = "application/octet-stream"
_IMMUTABLE: Final = {"Cache-Control": "public, max-age=31536000, immutable"}
_FRESH: Final = {"Cache-Control": "public, max-age=2"}


class ProofOut(Out):
    """Where the journal records a document."""

    proven: ProvenOut


class ExportedFileOut(Out):
    """A file of an export."""

    path: str
    data: Octets


class ExportOut(Out):
    """Part of an export at tree size `size`; ask again with `size` and `cursor` until `cursor` is empty."""

    size: int
    files: tuple[ExportedFileOut, ...]
    cursor: str


class SummaryOut(Out):
    """The journal in figures (JCS), and where it records their SHA-256."""

    document: Octets
    proven: ProvenOut


def check_index(index: str) -> str:
    """A tile's index as tlog-tiles writes it. Raises NothingThere for anything else, above all for other paths."""
    if len(index) > 64 or _INDEX.fullmatch(index) is None:
        raise NothingThere("no tile has this path", hint="see C2SP tlog-tiles")
    return index


def read_public(request: Request, name: str, folder: str = "journal") -> bytes:
    """A file below a folder of the public directory. `name` must be one that the caller's module built."""
    root: Path = request.app.state.settings.public_dir / folder
    path = root / name
    if not path.resolve().is_relative_to(root.resolve()):  # a link that leads outside
        raise NothingThere("no such file")
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise NothingThere("not there (yet)", hint="of tiles, the full one replaces partial ones") from error


@router.get("/journal/checkpoint", responses=binary(_NOTE, "The newest checkpoint, a C2SP signed note."))
def show_checkpoint(request: Request, _: Asking) -> Response:
    """The newest signed checkpoint. It is a static file: it stays up when the keyroom is down."""
    return Response(read_public(request, "checkpoint"), media_type=_NOTE, headers=_FRESH)


@router.get("/journal/tile/entries/{index:path}", responses=binary(_TILE, "An entry bundle."))
async def read_entries(caller: Asking, index: str) -> Response:
    """A bundle of entries. They name serials and sites, so the reader is an auditor, and the reading is an entry."""
    tile = await caller.ask(ReadTile(f"tile/entries/{check_index(index)}"), TileRead)
    return Response(tile.data, media_type=_TILE, headers={"Cache-Control": "private, no-store"})


@router.get("/journal/tile/{level}/{index:path}", responses=binary(_TILE, "Up to 256 hashes."))
def read_tile(request: Request, _: Asking, level: str, index: str) -> Response:
    """A tile of hashes. It is a static file: it stays up when the keyroom is down."""
    if _LEVEL.fullmatch(level) is None:
        raise NothingThere("no tile has this path", hint="see C2SP tlog-tiles")
    return Response(read_public(request, f"tile/{level}/{check_index(index)}"), media_type=_TILE, headers=_IMMUTABLE)


@router.get("/v1/journal/proofs/{sha256}")
async def show_proof(caller: Asking, sha256: DigestPath) -> ProofOut:
    """Entry and proof of a document by the SHA-256 of its bytes."""
    return ProofOut.model_validate(await caller.ask(ShowProof(sha256), ProofShown))


@router.get("/v1/journal/export")
async def export_journal(
    caller: Asking,
    size: Annotated[int, Query(ge=0, lt=1 << 53)] = 0,
    cursor: Annotated[str, Query(max_length=200)] = "",
    since: Annotated[int, Query(ge=0, lt=1 << 53)] = 0,
    root: Annotated[str, Query(pattern="^([0-9a-f]{64})?$")] = "",
) -> ExportOut:
    """The next part of a complete export, for auditors. Start without parameters; `since` and `root` are size and root
    hash (hex) of an earlier checkpoint, for what came after it.
    """
    return _export(await caller.ask(ExportJournal(size, cursor, since, root), JournalPart))


@router.get("/v1/journal/party")
async def export_party(
    caller: Asking,
    kind: Literal["key", "device", "work-order", "site", "change"],
    name: Annotated[str, Query(min_length=1, max_length=256)],
    size: Annotated[int, Query(ge=0, lt=1 << 53)] = 0,
    cursor: Annotated[str, Query(max_length=200)] = "",
) -> ExportOut:
    """The next part of the export of one party's entries, with proofs, for auditors to hand on."""
    return _export(await caller.ask(ExportParty(kind, name, size, cursor), JournalPart))


@router.get("/v1/journal/summary")
async def summarize_journal(caller: Asking) -> SummaryOut:
    """The journal in figures, with the entry that records its SHA-256 and the proof; for auditors."""
    return SummaryOut.model_validate(await caller.ask(SummarizeJournal(), DocumentRead))


def _export(part: JournalPart) -> ExportOut:
    files = tuple(ExportedFileOut(path=path, data=data) for path, data in part.files)
    return ExportOut(size=part.size, files=files, cursor=part.cursor)
