"""Everything that can be changed in an export, by class: the suite in test_exports.py is made from these tables.

A file belongs to the class whose pattern matches its path; a file of no class, or a class without mutations, fails the
suite. A mutation gets the export's files and a path of its class, and returns the changed files.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping

from pki.log.checkpoints import Checkpoint
from pki.log.notes import parse_note
from pki.log.tiles import encode_bundle, parse_tile_path, split_bundle
from tests.pki.log.building import LOG, ORIGIN, WITNESSES, Files, NoteKey

Mutation = Callable[[Files, str], Files]

FILE_CLASSES: Mapping[str, str] = {
    "checkpoint": r"checkpoint\Z",
    "earlier checkpoint": r"checkpoints/\d+\Z",
    "entry tile": r"tile/entries/",
    "leaf hash tile": r"tile/0/",
    "upper hash tile": r"tile/[1-9]\d?/",
    "blob": r"blob/",
    "consistency proof": r"consistency\Z",
    "party": r"party\.json\Z",
    "proven entry": r"proven/\d+\.json\Z",
    "inclusion proof": r"proven/\d+\.tlog-proof\Z",
    "document": r"(leaf\.schema\.json|trust\.cddl)\Z",
}


def class_of(path: str) -> str:
    """The class of a file. Fails when there is none: then the tables are not complete."""
    found = [name for name, pattern in FILE_CLASSES.items() if re.match(pattern, path)]
    assert len(found) == 1, f"{path} is of {len(found)} file classes: add one, and its mutations"
    return found[0]


def edit(change: Callable[[bytes], bytes]) -> Mutation:
    """Change the bytes of the file."""
    return lambda files, path: files | {path: change(files[path])}


def flip(at: float) -> Mutation:
    """Change one bit, this far into the file."""

    def change(data: bytes) -> bytes:
        position = min(int(len(data) * at), len(data) - 1)
        return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]

    return edit(change)


def remove(files: Files, path: str) -> Files:
    return {name: data for name, data in files.items() if name != path}


def duplicate(files: Files, path: str) -> Files:
    """The same bytes under another name."""
    return files | {f"{path}.copy": files[path]}


def swap(files: Files, path: str) -> Files:
    """Exchange the bytes with another file of the same class; with the first file of another where there is none."""
    others = [name for name in sorted(files) if name != path and files[name] != files[path]]
    other = next((name for name in others if class_of(name) == class_of(path)), others[0])
    return files | {path: files[other], other: files[path]}


ANY: dict[str, Mutation] = {
    "first byte": flip(0),
    "byte at a third": flip(0.33),
    "byte in the middle": flip(0.5),
    "byte at four fifths": flip(0.8),
    "last byte": flip(1),
    "cut by one": edit(lambda data: data[:-1]),
    "cut in half": edit(lambda data: data[: len(data) // 2]),
    "emptied": edit(lambda data: b""),
    "one byte more": edit(lambda data: data + b"\0"),
    "doubled": edit(lambda data: data + data),
    "missing": remove,
    "duplicated": duplicate,
    "swapped": swap,
}


def line(number: int, change: Callable[[bytes], bytes]) -> Mutation:
    """Change one line of a text."""

    def apply(data: bytes) -> bytes:
        lines = data.split(b"\n")
        return b"\n".join([*lines[:number], change(lines[number]), *lines[number + 1 :]])

    return edit(apply)


def bundle(change: Callable[[list[bytes]], object]) -> Mutation:
    """Change the list of entries of a bundle; their lengths follow."""

    def apply(data: bytes) -> bytes:
        entries = list(split_bundle(data))
        change(entries)
        return encode_bundle(entries)

    return edit(apply)


def resign(change: Callable[[Checkpoint], bytes]) -> Mutation:
    """Another note in the checkpoint's place, made by the thief of a key or by a stranger."""

    def apply(data: bytes) -> bytes:
        text = parse_note(data).text.split(b"\n")
        return change(Checkpoint(ORIGIN, int(text[1]), bytes(32)))

    return edit(apply)


def cosigned(checkpoint: Checkpoint) -> bytes:
    note = LOG.sign(checkpoint.encode())
    return WITNESSES[1].cosign(WITNESSES[0].cosign(note, 1_780_000_000), 1_780_000_000)


NOTE: dict[str, Mutation] = {
    "origin line": line(0, lambda text: b"evil.example/journal"),
    "size line, one less": line(1, lambda text: b"%d" % (int(text) - 1)),
    "size line, one more": line(1, lambda text: b"%d" % (int(text) + 1)),
    "size line, huge": line(1, lambda text: b"9007199254740991"),
    "root line": line(2, lambda text: b"AAAA" + text[4:]),
    "an extension line": line(3, lambda text: b"extension\n"),
    "the log's signature": line(4, lambda text: text[:-8] + b"AAAAAAA="),
    "the log's signature left out": edit(lambda data: b"\n".join(data.split(b"\n")[:4] + data.split(b"\n")[5:])),
    "a cosignature": line(5, lambda text: text[:-8] + b"AAAAAAA="),
    "a cosignature left out": edit(lambda data: b"\n".join(data.split(b"\n")[:5] + data.split(b"\n")[6:])),
    "a cosignature twice": edit(lambda data: data + data.split(b"\n")[5] + b"\n"),
    "another root, signed by a stranger": resign(lambda head: NoteKey(9).sign(head.encode())),
    "another root, signed by the log alone": resign(lambda head: LOG.sign(head.encode())),
}

FORK: dict[str, Mutation] = {"another root, signed and cosigned": resign(cosigned)}

PROOF: dict[str, Mutation] = {
    "header": line(0, lambda text: b"c2sp.org/tlog-proof@v2"),
    "index": line(1, lambda text: b"index %d" % (int(text[6:]) + 1)),
    "a hash": line(2, lambda text: b"A" * 43 + b"="),
    "a hash left out": edit(lambda data: b"\n".join(data.split(b"\n")[:2] + data.split(b"\n")[3:])),
    "a hash twice": line(2, lambda text: text + b"\n" + text),
    "extra data": line(0, lambda text: text + b"\nextra eA=="),
    "its checkpoint": edit(lambda data: data[: data.index(b"\n\n") + 2] + cosigned(Checkpoint(ORIGIN, 305, bytes(32)))),
}

MUTATIONS: dict[str, dict[str, Mutation]] = {
    "checkpoint": ANY | NOTE | FORK,
    "earlier checkpoint": ANY | NOTE | FORK,
    "entry tile": ANY
    | {
        "length of the first entry": edit(lambda data: b"\0" + data[1:]),
        "an entry dropped": bundle(lambda entries: entries.pop(3)),
        "an entry inserted": edit(lambda data: encode_bundle(list(split_bundle(data))[:1]) + data),
        "entries swapped": bundle(lambda entries: entries.__setitem__(slice(3, 5), [entries[4], entries[3]])),
        "an entry twice": bundle(lambda entries: entries.__setitem__(4, entries[3])),
    },
    "leaf hash tile": ANY,
    "upper hash tile": ANY,
    "blob": ANY,
    "consistency proof": ANY
    | {
        "old size": line(0, lambda text: b"old %d" % (int(text[4:]) - 1)),
        "a hash": line(1, lambda text: b"A" * 43 + b"="),
        "a hash left out": edit(lambda data: b"\n".join(data.split(b"\n")[:1] + data.split(b"\n")[2:])),
        "its checkpoint": edit(lambda data: data.replace(ORIGIN.encode(), b"evil.example/journal", 1)),
    },
    "party": ANY
    | {
        "kind": edit(lambda data: re.sub(rb'"kind":"[a-z-]+"', b'"kind":"site"', data).replace(b"graz", b"gra")),
        "name": edit(lambda data: re.sub(rb'"name":"[^"]+"', b'"name":"BMS-2"', data)),
        "log": edit(lambda data: data.replace(ORIGIN.encode(), b"evil.example/journal")),
        "size": edit(lambda data: data.replace(b'"size":305', b'"size":304')),
        "a field more": edit(lambda data: data[:-1] + b',"w":1}'),
    },
    "proven entry": ANY,
    "inclusion proof": ANY | PROOF,
    "document": {name: change for name, change in ANY.items() if name != "missing"},
}


def leaf_fields(leaf: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The paths of all values in an entry."""
    if isinstance(leaf, dict | list):
        for key, value in leaf.items() if isinstance(leaf, dict) else enumerate(leaf):
            yield from leaf_fields(value, (*path, key))
    else:
        yield path


def change_field(entry: bytes, path: tuple[str | int, ...]) -> bytes:
    """An entry with one value changed to another of its kind: still canonical, still as long where it is a text."""
    leaf = json.loads(entry)
    place = leaf
    for key in path[:-1]:
        place = place[key]
    value = place[path[-1]]
    if isinstance(value, bool):
        place[path[-1]] = not value
    elif isinstance(value, int):
        place[path[-1]] = value + 1
    else:
        place[path[-1]] = value[:-1] + ("0" if value[-1] != "0" else "1")
    return json.dumps(leaf, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def entries_of(files: Files, path: str) -> dict[int, bytes]:
    """The entries that a file holds, or speaks of, by index; none for files that are above all entries."""
    if path.startswith("tile/entries/"):
        first = parse_tile_path(path).index * 256
        return dict(enumerate(split_bundle(files[path]), first))
    if path.startswith("tile/0/"):
        return entries_of(files, path.replace("tile/0/", "tile/entries/"))
    if path.startswith("proven/"):
        index = int(path.removeprefix("proven/").partition(".")[0])
        return {index: files[f"proven/{index}.json"]}
    return {}
