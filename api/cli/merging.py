"""An increment put into the earlier export that it extends, so that the whole is a complete export again."""

from itertools import chain
from pathlib import Path

from api.cli.errors import FileRefused
from api.cli.files import FILE_LIMIT, read_file, write_below
from api.cli.verify import open_export
from pki.log.checkpoints import parse_checkpoint
from pki.log.evidence import blob_path
from pki.log.files import CHECKPOINT, DOCUMENTS
from pki.log.increments import CONSISTENCY, audit_increment
from pki.log.notes import parse_note
from pki.log.reports import Report
from pki.log.tiles import list_tiles


def merge_increment(directory: Path, increment: Path, *, allow_open: bool) -> Report:
    """Verify that the increment extends the export, then add its files. The earlier checkpoint is kept, in
    `checkpoints/`. Nothing is written before the increment is verified; a merge that was cut off may be repeated.

    Raises FileRefused, AuditFailed.
    """
    note = read_file(directory / CHECKPOINT, FILE_LIMIT)
    before = parse_checkpoint(parse_note(note).text)
    files = open_export(increment, None)
    if CONSISTENCY not in files.paths:
        raise FileRefused(f"{increment} is no increment", hint="kedge journal export DIR --since CHECKPOINT")
    report = audit_increment(files, before, allow_open=allow_open)
    left = {path for path in files.paths if not path.startswith("proven/")} - {CONSISTENCY, CHECKPOINT}
    for path in chain(sorted(left), map(blob_path, files.blobs)):
        if path in DOCUMENTS:
            (directory / path).unlink(missing_ok=True)
        write_below(directory, path, files.read(path))
    if before.size < report.size:
        write_below(directory, f"checkpoints/{before.size}", note)
        (directory / CHECKPOINT).write_bytes(files.read(CHECKPOINT))
    wanted = {tile.path for tile in list_tiles(report.size)}
    for tile in list_tiles(before.size):
        if tile.path not in wanted:
            (directory / tile.path).unlink(missing_ok=True)
            folder = (directory / tile.path).parent
            if folder.suffix == ".p" and not any(folder.iterdir()):
                folder.rmdir()
    return report
