"""What software this is: one digest over the packages as installed; officers compare it, every entry carries it."""

import hashlib
from pathlib import Path

from pki.jcs import jcs

PACKAGES = ("api", "ceremonies", "hsm", "pki")


def software_sha256(root: Path | None = None) -> str:
    """SHA-256 (hex) over the sorted JCS list of [path, SHA-256] of every source file of the packages.

    Compiled files do not count, because the interpreter writes them.
    """
    base = root or Path(__file__).resolve().parent.parent
    files = sorted(
        path
        for package in PACKAGES
        for path in (base / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc"
    )
    listed = [[path.relative_to(base).as_posix(), hashlib.sha256(path.read_bytes()).hexdigest()] for path in files]
    return hashlib.sha256(jcs(listed)).hexdigest()
