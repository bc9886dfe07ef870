"""Whatever is changed in an export is named. The mutations of journal.md, one by one."""

import hashlib
import json
from collections.abc import Callable

import pytest

from pki.log.audit import audit_journal
from pki.log.checkpoints import Checkpoint
from pki.log.errors import AuditFailed
from pki.log.evidence import blob_path
from pki.log.notes import parse_note
from pki.log.policy import TrustPolicy, parse_policy
from pki.log.reports import Report
from pki.log.tiles import encode_bundle, parse_bundle
from tests.pki.log.building import (
    LOG,
    ORIGIN,
    P256,
    POLICY,
    Files,
    Journal,
    NoteKey,
    assemble_export,
    sample_journal,
    sign_checkpoint,
)

TRUST = parse_policy(POLICY)
SAMPLE = sample_journal().files()
SIZE = len(sample_journal().entries)
LAST = SIZE - 256
ENTRIES_0, ENTRIES_1 = "tile/entries/000", f"tile/entries/001.p/{LAST}"


def audit(files: Files, policy: TrustPolicy | None = TRUST) -> Report:
    return audit_journal(files.__getitem__, files, policy)


def refuse(files: Files, what: str, policy: TrustPolicy | None = TRUST) -> AuditFailed:
    with pytest.raises(AuditFailed, match=what) as caught:
        audit(files, policy)
    return caught.value


def edit_bundle(path: str, width: int, edit: Callable[[list[bytes]], object]) -> Files:
    entries = list(parse_bundle(SAMPLE[path], width))
    edit(entries)
    return SAMPLE | {path: encode_bundle(entries)}


def edit_entries(edit: Callable[[list[bytes]], object]) -> Files:
    """A complete export of other entries: tiles, root and signatures all fit them."""
    entries = list(sample_journal().entries)
    edit(entries)
    return assemble_export(entries, sample_journal().blobs)


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.req("AU-2")
def test_sample_is_authenticated() -> None:
    report = audit(SAMPLE)
    assert (report.verdict, report.origin, report.size) == ("authenticated", ORIGIN, SIZE)
    assert (report.signers, report.witnesses) == ((LOG.public.encode(),), ("w1", "w2"))
    assert (report.open, report.checkpoints, report.documents_absent) == (0, 1, 5)
    assert sum(report.types.values()) == SIZE
    assert report.types["key.sign.intent"] == report.types["key.sign.outcome"] + report.types["key.sign.unknown"]
    assert report.blobs == len(sample_journal().blobs)
    assert report.first < report.last


@pytest.mark.req("AU-2")
def test_without_a_policy_nothing_is_authenticated() -> None:
    report = audit(SAMPLE, None)
    assert (report.verdict, report.signers, report.witnesses) == ("consistent-not-authenticated", (), ())
    assert report.root == audit(SAMPLE).root


def test_empty_journal() -> None:
    files = assemble_export([], {})
    assert (audit(files).size, audit(files).first) == (0, "")


@pytest.mark.req("AU-2", "T26")
def test_any_changed_entry_is_named() -> None:
    for index in range(0, SIZE, 17):
        path, width = (ENTRIES_0, 256) if index < 256 else (ENTRIES_1, LAST)

        def change(entries: list[bytes], at: int = index % 256) -> None:
            entries[at] = entries[at].replace(b'"boot-1"', b'"boot-2"')

        tile = f"tile/0/{index // 256:03d}"
        error = refuse(edit_bundle(path, width, change), f"^entry {index}: leaf hash differs from {tile}$")
        assert error.entry == index


@pytest.mark.req("AU-2", "T26")
@pytest.mark.parametrize("at", [0, 100, 255])
def test_dropped_inserted_and_swapped_entries_are_named(at: int) -> None:
    files = edit_bundle(ENTRIES_0, 256, lambda entries: entries.pop(at))
    what = "it is missing from tile/entries/000" if at == 255 else "leaf hash differs from tile/0/000"
    refuse(files, f"^entry {at}: {what}")
    entries = list(parse_bundle(SAMPLE[ENTRIES_0], 256))
    entries.insert(at, entries[50])
    data = b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)
    refuse(SAMPLE | {ENTRIES_0: data}, f"^entry {at}: leaf hash differs from tile/0/000")
    other = (at + 1) % 256

    def swap(entries: list[bytes]) -> None:
        entries[at], entries[other] = entries[other], entries[at]

    refuse(edit_bundle(ENTRIES_0, 256, swap), f"^entry {min(at, other)}: leaf hash differs from tile/0/000")


def test_surplus_and_cut_entries_are_named() -> None:
    refuse(SAMPLE | {ENTRIES_0: SAMPLE[ENTRIES_0] + b"\0\1x"}, "^tile/entries/000: more than 256 entries")
    refuse(SAMPLE | {ENTRIES_1: SAMPLE[ENTRIES_1][:-1]}, f"^entry {SIZE - 1}: {ENTRIES_1}: the bundle is cut off")
    refuse(SAMPLE | {ENTRIES_1: SAMPLE[ENTRIES_1] + b"\0"}, f"^entry {SIZE}: {ENTRIES_1}: the bundle is cut off")
    refuse(SAMPLE | {ENTRIES_1: b""}, f"^entry 256: it is missing from {ENTRIES_1}")


@pytest.mark.unmeasured
@pytest.mark.req("AU-2")
@pytest.mark.unmeasured
def test_any_changed_byte_of_any_file_is_noticed() -> None:
    journal = Journal()
    journal.generate(P256)
    for number in range(3):
        journal.sign(b"%d" % number, [P256])
    good = journal.files()
    for path, data in good.items():
        if path != "leaf.schema.json":
            for at in range(0, len(data), 11 if len(data) > 500 else 5):
                with pytest.raises(AuditFailed):
                    audit(good | {path: flip(data, at)})


@pytest.mark.req("AU-2")
@pytest.mark.parametrize(("path", "start"), [("tile/0/000", 0), (f"tile/0/001.p/{LAST}", 256)])
def test_changed_leaf_hash_is_named(path: str, start: int) -> None:
    for at in (0, 77, 179):
        tile = path.partition(".p")[0]
        refuse(SAMPLE | {path: flip(SAMPLE[path], at * 32 + 9)}, f"^entry {start + at}: leaf hash differs from {tile}$")


def test_changed_inner_tile_is_named() -> None:
    refuse(SAMPLE | {"tile/1/000.p/1": bytes(32)}, "^tile/1/000.p/1: hash 0 is not that of tile/0/000$")
    for path in ("tile/0/000", "tile/1/000.p/1"):
        refuse(SAMPLE | {path: SAMPLE[path] + bytes(32)}, f"^{path}: the tile has")
        refuse(SAMPLE | {path: SAMPLE[path][:-1]}, f"^{path}: the tile has")


@pytest.mark.req("AU-2", "T26")
@pytest.mark.parametrize("path", ["checkpoint", ENTRIES_0, ENTRIES_1, "tile/0/000", "tile/1/000.p/1"])
def test_missing_file_is_named(path: str) -> None:
    files = dict(SAMPLE)
    del files[path]
    assert refuse(files, f"^{path}: the file is missing").path == path


@pytest.mark.req("AU-2")
@pytest.mark.parametrize(
    "path",
    ["tile/0/002", "tile/0/000.p/255", "tile/entries/002.p/1", "tile/2/000.p/1", "tile/x", f"tile/0/001.p/{LAST - 1}"],
)
def test_surplus_tile_is_named(path: str) -> None:
    assert refuse(SAMPLE | {path: bytes(32)}, "has no such file").path == path


CHECKPOINTS: list[tuple[Callable[[Checkpoint], bytes], str, str]] = [
    (lambda it: sign_checkpoint(it).replace(ORIGIN.encode(), b"evil.example/j"), "lists no log", "entry 0: it belongs"),
    (lambda it: sign_checkpoint(it).replace(b"\n%d\n" % SIZE, b"\n%d\n" % (SIZE - 1)), "is false", "file is missing"),
    (lambda it: sign_checkpoint(it).replace(b"\n%d\n" % SIZE, b"\n%d\n" % (SIZE + 1)), "is false", "file is missing"),
    (lambda it: sign_checkpoint(it).replace(b"\n%d\n" % SIZE, b"\n%d\n" % 10**15), "is false", "file is missing"),
    (
        lambda it: NoteKey(9).sign(Checkpoint(ORIGIN, SIZE, bytes(32)).encode()),
        "no known key",
        "not that of the entries",
    ),
    (lambda it: LOG.sign(Checkpoint(ORIGIN, SIZE, bytes(32)).encode()), "needs 2 more", "not that of the entries"),
    (lambda it: sign_checkpoint(Checkpoint(ORIGIN, SIZE, bytes(32))), "not that of the ent", "not that of the entries"),
    (lambda it: LOG.sign(it.encode() + b"extension\n"), "three lines", "three lines"),
    (lambda it: it.encode(), "checkpoint: the note has", "checkpoint: the note has"),
    (lambda it: b"", "checkpoint: the note has", "checkpoint: the note has"),
]


@pytest.mark.req("AU-2", "T26")
@pytest.mark.parametrize(("change", "with_policy", "without"), CHECKPOINTS)
def test_changed_checkpoint_is_refused(change: Callable[[Checkpoint], bytes], with_policy: str, without: str) -> None:
    root = bytes.fromhex(audit(SAMPLE).root)
    files = SAMPLE | {"checkpoint": change(Checkpoint(ORIGIN, SIZE, root))}
    refuse(files, with_policy)
    refuse({path: data for path, data in files.items() if not path.startswith("checkpoints/")}, without, None)


@pytest.mark.req("AU-2", "T26")
def test_truncated_journal_with_its_own_signature_meets_an_earlier_checkpoint() -> None:
    """The log key is stolen and the tail is cut: only what others hold shows it. Here it is a cosigned checkpoint."""
    files = assemble_export(sample_journal().entries[:300], sample_journal().blobs)
    refuse(files | {"checkpoints/400": SAMPLE["checkpoint"]}, "^checkpoints/400: no earlier checkpoint")
    refuse(files | {f"checkpoints/{SIZE}": SAMPLE["checkpoint"]}, f"^checkpoints/{SIZE}: no earlier checkpoint")


@pytest.mark.req("AU-2", "T26")
def test_fork_is_named_by_an_earlier_checkpoint() -> None:
    earlier = f"checkpoints/{SIZE // 2}"
    fork = sign_checkpoint(Checkpoint(ORIGIN, SIZE // 2, hashlib.sha256(b"fork").digest()))
    refuse(SAMPLE | {earlier: fork}, f"^{earlier}: its root hash is not that of the first {SIZE // 2} entries")
    stranger = NoteKey(8).sign(parse_note(fork).text)
    refuse(SAMPLE | {earlier: stranger}, f"^{earlier}: its root hash is not that of the first {SIZE // 2} entries")
    true = NoteKey(8).sign(parse_note(SAMPLE[earlier]).text)
    refuse(SAMPLE | {earlier: true}, f"^{earlier}: the note is signed by no")
    other = sign_checkpoint(Checkpoint("kedge.example/other", 5, bytes(32)))
    refuse(SAMPLE | {"checkpoints/5": other}, "no earlier checkpoint", None)
    more = {f"checkpoints/{size}": head(size) for size in (0, 1, 255, 256, 257, SIZE)}
    assert audit(SAMPLE | more).checkpoints == 7


def head(size: int) -> bytes:
    files = assemble_export(sample_journal().entries[:size], {})
    return files["checkpoint"]


@pytest.mark.req("AU-2")
def test_recomputed_tree_does_not_hide_a_changed_chain() -> None:
    """Everything signed anew, as by the log key's thief: the chain inside the entries still tells."""
    refuse(edit_entries(lambda entries: entries.pop(100)), "^entry 100: its seq is 101")
    refuse(edit_entries(lambda entries: entries.insert(100, entries[7])), "^entry 100: its seq is 7")

    def change(entries: list[bytes]) -> None:
        entries[100] = entries[100].replace(b'"boot-1"', b'"boot-2"')

    refuse(edit_entries(change), "^entry 101: its prev is not the leaf hash of the entry before it")

    def spoil(entries: list[bytes]) -> None:
        entries[100] = entries[100].replace(b'"boot-1"', b'"boot-1" ')

    refuse(edit_entries(spoil), "^entry 100: the entry is not in the canonical form")


@pytest.mark.req("AU-1", "T27")
def test_open_intents_are_refused_unless_allowed() -> None:
    journal = Journal()
    journal.add("log.start")
    journal.intend(b"a", [P256])
    journal.intend(b"b", [P256])
    files = journal.files()
    assert refuse(files, r"^entry 1: nothing closes this intent \(2 are open\)").entry == 1
    report = audit_journal(files.__getitem__, files, TRUST, allow_open=True)
    assert report.open == 2


@pytest.mark.req("AU-2")
def test_blobs_are_whole_and_named() -> None:
    refuse(SAMPLE | {blob_path("ab" * 32): b"x"}, "no entry names this blob", None)
    csr = blob_path(hashlib.sha256(b"a certificate request").hexdigest())
    refuse(SAMPLE | {csr: b"another request"}, f"^entry [0-9]+: the content of {csr} has another SHA-256")
    refuse(SAMPLE | {"notes.txt": b""}, "^notes.txt: no part of an export")


@pytest.mark.unmeasured
def test_a_full_tile_of_level_one() -> None:
    """65,536 entries and some more fill a tile of level 1 and start one of level 2."""
    journal = Journal()
    journal.add("log.start")
    template = journal.leaf("probe")
    prev = str(template["prev"])
    encoded = json.dumps(template, sort_keys=True, separators=(",", ":"))
    for seq in range(1, 65_536 + 300):
        entry = encoded.replace('"seq":1', f'"seq":{seq}').replace(
            prev, hashlib.sha256(b"\0" + journal.entries[-1]).hexdigest()
        )
        journal.entries.append(entry.encode())
    files = journal.files()
    assert {"tile/0/257.p/44", "tile/1/000", "tile/1/001.p/1", "tile/2/000.p/1"} < files.keys()
    assert audit(files).size == 65_836
    refuse(
        files | {"tile/1/000": flip(files["tile/1/000"], 32 * 200)}, "^tile/1/000: hash 200 is not that of tile/0/200"
    )
    refuse(files | {"tile/2/000.p/1": bytes(32)}, "^tile/2/000.p/1: hash 0 is not that of tile/1/000")
