"""Exports on disk."""

from pathlib import Path

from tests.pki.log.building import Files


def write_export(folder: Path, files: Files) -> Path:
    """The files of an export below a folder."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def read_export(folder: Path) -> Files:
    """The files of an export, as they lie on disk."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
