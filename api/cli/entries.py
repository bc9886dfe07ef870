"""The entries of an export on disk, as lines for people and their tools: JSON Lines, or CSV with fixed columns."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from api.cli.errors import FileRefused
from api.cli.files import FILE_LIMIT, read_file
from api.sheets import write_line
from pki.log.checkpoints import parse_checkpoint
from pki.log.files import CHECKPOINT
from pki.log.increments import CONSISTENCY
from pki.log.merkle import leaf_hash
from pki.log.notes import parse_note
from pki.log.proven import proven_paths, split_proven
from pki.log.tiles import ENTRIES, WIDTH, increment_tiles, split_bundle
from pki.log.witnesses import parse_submission

COLUMNS: Final = (
    "seq", "ts", "type", "kind", "status", "why", "chg", "cer", "req", "role", "sub", "src", "keys", "spkis", "kctrs",
    "serial", "work_order", "doc", "closes", "leaf_hash",
)  # fmt: skip


def walk(directory: Path) -> Iterator[tuple[int, bytes]]:
    """Index and bytes of every entry of an export, in order. Verifies nothing: `kedge verify` does."""
    if (directory / "tile").is_dir():
        size = parse_checkpoint(parse_note(read_file(directory / CHECKPOINT, FILE_LIMIT)).text).size
        increment = directory / CONSISTENCY
        known = parse_submission(read_file(increment, FILE_LIMIT)).old if increment.exists() else 0
        for tile in increment_tiles(known, size):
            if tile.level == ENTRIES:
                bundle = split_bundle(read_file(directory / tile.path, FILE_LIMIT))
                yield from ((at, data) for at, data in enumerate(bundle, tile.index * WIDTH) if at >= known)
        return
    found = split_proven(path.relative_to(directory).as_posix() for path in (directory / "proven").glob("*"))[0]
    if not found:
        raise FileRefused(f"{directory} holds no entries", hint="name what `kedge journal export` wrote")
    yield from ((index, read_file(directory / proven_paths(index)[0], FILE_LIMIT)) for index in found)


def format_jsonl(entries: Iterator[tuple[int, bytes]]) -> Iterator[str]:
    """Each entry verbatim on a line of its own: the bytes that the tree holds."""
    for _, data in entries:
        yield data.decode() + "\n"


def format_csv(entries: Iterator[tuple[int, bytes]]) -> Iterator[str]:
    """RFC 4180 with a header, every value quoted, lists joined by spaces. A value that a spreadsheet would take for a
    formula gets an apostrophe in front. The columns are those of `COLUMNS`; absent values are empty.
    """
    yield write_line(COLUMNS)
    for _, data in entries:
        yield write_line(_row(data))


def _row(data: bytes) -> list[object]:
    leaf: dict[str, Any] = msgspec.json.decode(data)
    op, out, actor, keys = leaf.get("op", {}), leaf.get("out", {}), leaf.get("actor", {}), leaf.get("keys", [])
    what = op.get("what", {})
    values = {
        **{name: leaf.get(name, "") for name in ("seq", "ts", "type", "chg", "cer", "req")},
        **{name: actor.get(name, "") for name in ("role", "sub", "src")},
        **{name: out.get(name, "") for name in ("status", "why", "doc")},
        **{name: what.get(name, "") for name in ("serial", "work_order")},
        "kind": op.get("kind", ""),
        "keys": " ".join(key.get("label", "") for key in keys),
        "spkis": " ".join(key.get("spki", "") for key in keys),
        "kctrs": " ".join(str(key["kctr"]) for key in keys if "kctr" in key),
        "closes": leaf.get("ref", {}).get("i", ""),
        "leaf_hash": leaf_hash(data).hex(),
    }
    return [values[name] for name in COLUMNS]
