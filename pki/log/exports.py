"""Any export: complete, an increment, or the excerpt of a party; the files tell which."""

from collections.abc import Iterator

from pki.log.audit import SINCE, audit_files
from pki.log.errors import AuditFailed
from pki.log.excerpts import audit_excerpt
from pki.log.files import Files, check_head
from pki.log.increments import CONSISTENCY, audit_increment
from pki.log.parties import PARTY
from pki.log.reports import Report
from pki.log.tiles import ENTRIES, WIDTH, Tile, increment_tiles, split_bundle
from pki.log.witnesses import parse_submission


def verify_export(files: Files, since: bytes | None = None, *, allow_open: bool = False) -> Report:
    """Verify an export. `since`: the checkpoint (note) that the auditor verified last; an increment needs it, and a
    complete export must bear it out. With a policy it must satisfy that, too. Raises AuditFailed.
    """
    before = check_head(SINCE, since, files.policy)[0] if since is not None else None
    if PARTY in files.paths:
        if before is not None:
            raise AuditFailed(f"{PARTY}: an excerpt extends nothing", hint="leave --since out", path=PARTY)
        return audit_excerpt(files, allow_open=allow_open)
    if CONSISTENCY not in files.paths:
        head, _ = files.head()
        _check_whole(files, head.size)
        if before is not None and (before.origin, before.size <= head.size) != (head.origin, True):
            raise AuditFailed(
                f"{SINCE}: {before.size} entries of {before.origin}; this export has {head.size} of {head.origin}",
                hint="an older export, or another journal's",
                path=SINCE,
            )
        return audit_files(files, allow_open=allow_open, since=before)
    if before is None:
        raise AuditFailed(
            "consistency: this export is an increment", hint="give --since: your last checkpoint", path=CONSISTENCY
        )
    return audit_increment(files, before, allow_open=allow_open)


def walk_export(files: Files, known: int = 0) -> Iterator[tuple[int, bytes]]:
    """Index and bytes of the entries from `known` on of an export that was verified: complete, or an increment."""
    since = parse_submission(files.read(CONSISTENCY)).old if CONSISTENCY in files.paths else 0
    for tile in increment_tiles(since, files.head()[0].size):
        if tile.level == ENTRIES:
            bundle = split_bundle(files.read(tile.path))
            yield from ((at, data) for at, data in enumerate(bundle, tile.index * WIDTH) if at >= max(since, known))


def _check_whole(files: Files, size: int) -> None:
    """A complete export has its first entries; what has not lost the file that says what it is. Raises AuditFailed."""
    if not size or Tile(ENTRIES, 0, min(WIDTH, size)).path in files.paths:
        return
    if not any(path.startswith("proven/") for path in files.paths):
        return  # the first missing file is named later
    path = CONSISTENCY if any(path.startswith("tile/") for path in files.paths) else PARTY
    raise AuditFailed(f"{path}: the file is missing, which says what these entries are", path=path)
