"""The mutation suite: whatever is changed in a complete export, an increment or an excerpt is named."""

import json
from collections.abc import Callable

import pytest

from pki.log import files as export_files
from pki.log.errors import AuditFailed
from pki.log.exports import verify_export
from pki.log.policy import parse_policy
from pki.log.reports import Report
from pki.log.schema import leaf_schema
from tests.pki.log.building import POLICY, Files
from tests.pki.log.mutations import (
    FILE_CLASSES,
    MUTATIONS,
    NOTE,
    change_field,
    class_of,
    entries_of,
    leaf_fields,
)
from tests.pki.log.stories import ORDER, SINCE, assemble_excerpt, assemble_increment, note_of, story

TRUST = parse_policy(POLICY)
CDDL = b"; payloads\n"
PAPERS = {"leaf.schema.json": leaf_schema(), "trust.cddl": CDDL}
OLD = note_of(story(), SINCE)
EXPORTS: dict[str, tuple[Files, bytes | None]] = {
    "complete": (story().files() | PAPERS, None),
    "increment": (
        assemble_increment(story(), SINCE) | PAPERS | {"checkpoints/300": note_of(story(), 300)},
        OLD,
    ),
    "excerpt": (assemble_excerpt(story(), ORDER) | PAPERS, None),
}
# Documents and requests are named by entries, but nobody needs them to check an entry: one that is taken away is
# counted as absent (documents) or not missed (requests, orders). Nor does anything say how many earlier checkpoints
# there were. Everything else that is missing is named.
TAKEN_AWAY = {"blob": "missing", "earlier checkpoint": "missing"}


def verify(files: Files, since: bytes | None) -> Report:
    view = export_files.Files(files.__getitem__, frozenset(files), TRUST, PAPERS)
    return verify_export(view, since)


def pick(files: Files) -> dict[str, list[str]]:
    """Files of each class in an export: the first, the last and one between."""
    found: dict[str, list[str]] = {}
    for path in sorted(files):
        found.setdefault(class_of(path), []).append(path)
    return {name: sorted({paths[0], paths[len(paths) // 2], paths[-1]}) for name, paths in found.items()}


def is_named(error: AuditFailed, files: Files, path: str) -> bool:
    """Whether the message tells the file, or an entry that the file holds or that names it."""
    if path in str(error) or error.path == path or (error.path or "").startswith(path):
        return True
    if error.entry is None:
        return False
    if class_of(path) == "party":
        return "does not belong" in str(error)
    if class_of(path) == "blob":
        return path[8:] in str(error) or "the draft" in str(error)
    return error.entry in entries_of(files, path) or error.entry - 1 in entries_of(files, path)


CASES = [
    pytest.param(kind, path, id=f"{kind}: {path[:40]}")
    for kind, (files, _) in EXPORTS.items()
    for paths in pick(files).values()
    for path in paths
]


@pytest.mark.req("AU-2", "AU-10", "T26")
@pytest.mark.parametrize("kind", EXPORTS)
def test_unchanged_exports_are_authentic(kind: str) -> None:
    report = verify(*EXPORTS[kind])
    assert report.verdict == "authenticated"


@pytest.mark.req("AU-2", "AU-10", "T26")
@pytest.mark.parametrize(("kind", "path"), CASES)
@pytest.mark.unmeasured
def test_every_mutation_of_every_file_class_is_named(kind: str, path: str) -> None:
    files, since = EXPORTS[kind]
    group = class_of(path)
    for name, mutate in MUTATIONS[group].items():
        changed = mutate(files, path)
        assert changed != files, name
        if TAKEN_AWAY.get(group) == name and is_spare(kind, path):
            verify(changed, since)
            continue
        with pytest.raises(AuditFailed) as caught:
            verify(changed, since)
        names = [path, *(other for other in files if changed.get(other) != files[other])]
        assert any(is_named(caught.value, files, other) for other in names), f"{name}: {caught.value}"


def is_spare(kind: str, path: str) -> bool:
    """A document, request or order: bytes that no signature, key or draft of an entry needs."""
    data = EXPORTS[kind][0][path]
    return class_of(path) == "earlier checkpoint" or data.startswith((b"document of", b"request ", b'{"plant"'))


@pytest.mark.req("AU-2")
def test_every_file_class_has_mutations_and_occurs() -> None:
    assert MUTATIONS.keys() == FILE_CLASSES.keys()
    assert all(MUTATIONS.values())
    seen = {class_of(path) for files, _ in EXPORTS.values() for path in files}
    assert seen == FILE_CLASSES.keys()


def test_a_file_of_no_class_fails_the_suite() -> None:
    with pytest.raises(AssertionError, match="add one"):
        class_of("notes.txt")


@pytest.mark.req("AU-2", "T26")
@pytest.mark.parametrize("kind", EXPORTS)
@pytest.mark.unmeasured
def test_every_field_of_every_type_of_entry_is_named(kind: str) -> None:
    """One entry of each type that the export holds; each of its values changed in turn."""
    files, since = EXPORTS[kind]
    done: set[str] = set()
    for path in [name for name in sorted(files) if class_of(name) in ("entry tile", "proven entry")]:
        for index, entry in entries_of(files, path).items():
            leaf = json.loads(entry)
            if leaf["type"] in done or (kind == "increment" and index < SINCE):
                continue
            done.add(leaf["type"])
            for field in leaf_fields(leaf):
                changed = replace_entry(files, path, entry, change_field(entry, field))
                with pytest.raises(AuditFailed, match=rf"^entry {index}\b"):
                    verify(changed, since)
    assert len(done) >= 5


def replace_entry(files: Files, path: str, old: bytes, new: bytes) -> Files:
    if class_of(path) == "proven entry":
        return files | {path: new}
    before, after = (len(data).to_bytes(2, "big") + data for data in (old, new))
    return files | {path: files[path].replace(before, after)}


@pytest.mark.req("AU-2", "AU-10")
@pytest.mark.parametrize("name", NOTE)
def test_a_changed_earlier_checkpoint_of_the_auditor_is_named(name: str) -> None:
    changed = NOTE[name]({"since": OLD}, "since")["since"]
    for kind in ("increment", "complete"):
        with pytest.raises(AuditFailed, match=r"^since: "):
            verify(EXPORTS[kind][0], changed)


def refuse(act: Callable[[], object], what: str) -> None:
    with pytest.raises(AuditFailed, match=what):
        act()


@pytest.mark.req("AU-2", "AU-10")
def test_each_kind_of_export_wants_its_own_question() -> None:
    refuse(lambda: verify(EXPORTS["increment"][0], None), "this export is an increment")
    refuse(lambda: verify(EXPORTS["excerpt"][0], OLD), "an excerpt extends nothing")
    refuse(lambda: verify(EXPORTS["increment"][0], note_of(story(), 280)), "it goes on from 290 entries")
    report = verify(EXPORTS["complete"][0], OLD)
    assert (report.scope, report.since) == ("complete", SINCE)
    newer = note_of(story(), 305)
    small = {path: data for path, data in EXPORTS["increment"][0].items() if path != "consistency"}
    refuse(lambda: verify(small, newer), "^consistency: the file is missing")
