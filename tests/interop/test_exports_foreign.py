"""Increments and excerpts, judged by programs that are not ours: Go's x/mod/sumdb, aics-tlog, and openssl."""

import base64
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from api.cli.merging import merge_increment
from pki.log.checkpoints import parse_checkpoint
from pki.log.merkle import leaf_hash
from pki.log.notes import parse_note
from pki.log.proofs import parse_proof
from pki.log.proven import split_proven
from pki.log.witnesses import parse_submission
from pki.signatures import spki_der
from tests.interop.test_journal_foreign import judge as go
from tests.interop.test_journal_foreign import verifier, write_export
from tests.interop.test_witness_foreign import judge as aics
from tests.pki.log.building import LOG, ORIGIN, WITNESSES, assemble_export
from tests.pki.log.stories import KEY, ORDER, SINCE, assemble_excerpt, assemble_increment, note_of, story

__all__ = ["verifier"]

VKEY = LOG.public.encode()
TRUST = ("--log-key", VKEY, "--witness-key", WITNESSES[0].public.encode(), "--quorum", "1", "--origin", ORIGIN)
SIZE = len(story().entries)


@pytest.fixture
def increment(tmp_path: Path) -> Path:
    return write_export(tmp_path / "increment", assemble_increment(story(), SINCE))


@pytest.mark.req("AU-2", "AU-10")
@pytest.mark.parametrize("old", [1, 200, 256, 257, SINCE, SIZE])
def test_go_accepts_an_increment_from_its_tiles_alone(verifier: Path, tmp_path: Path, old: int) -> None:
    export = write_export(tmp_path / "increment", assemble_increment(story(), old))
    older = tmp_path / "older"
    older.write_bytes(note_of(story(), old))
    assert go(verifier, "increment", export, older, VKEY) == (0, f"ok {old} to {SIZE}")


@pytest.mark.req("AU-2", "T26")
def test_go_refuses_a_changed_increment(verifier: Path, tmp_path: Path, increment: Path) -> None:
    older = tmp_path / "older"
    older.write_bytes(note_of(story(), SINCE - 1).replace(b"\n289\n", b"\n290\n"))
    assert go(verifier, "increment", increment, older, VKEY)[0] == 1
    older.write_bytes(note_of(story(), SINCE))
    for path in (f"tile/entries/001.p/{SIZE - 256}", f"tile/0/001.p/{SIZE - 256}", "tile/1/000.p/1"):
        good = (increment / path).read_bytes()
        (increment / path).write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
        assert go(verifier, "increment", increment, older, VKEY)[0] == 1
        (increment / path).write_bytes(good)


@pytest.mark.req("AU-2", "AU-10")
def test_aics_tlog_accepts_the_consistency_proof_and_no_other(tmp_path: Path, increment: Path) -> None:
    proof = parse_submission((increment / "consistency").read_bytes())
    heads = [parse_checkpoint(parse_note(note).text) for note in (note_of(story(), SINCE), proof.note)]
    sizes = ("--old-size", str(heads[0].size), "--new-size", str(heads[1].size))
    roots = [base64.b64encode(head.root).decode() for head in heads]
    lines = [base64.b64encode(item).decode() for item in proof.proof]
    file = tmp_path / "proof"
    for content, ok in [(lines, True), (lines[:-1], False), ([lines[1], lines[0], *lines[2:]], False)]:
        file.write_text("\n".join(content) + "\n")
        report = aics("verify-consistency", *sizes, "--old-root", roots[0], "--new-root", roots[1], "--proof", file)
        assert report["ok"] is ok
    assert aics("verify-checkpoint", "--note", increment / "checkpoint", *TRUST)["ok"]


@pytest.mark.req("AU-2", "AU-10", "T36")
@pytest.mark.parametrize("party", [ORDER, KEY], ids=["order", "key"])
def test_go_and_aics_tlog_accept_every_entry_of_an_excerpt(verifier: Path, tmp_path: Path, party: object) -> None:
    export = write_export(tmp_path / "excerpt", assemble_excerpt(story(), ORDER if party is ORDER else KEY))
    files = [path.relative_to(export).as_posix() for path in export.rglob("*") if path.is_file()]
    indexes, _ = split_proven(files)
    assert len(indexes) > 10
    head = parse_checkpoint(parse_note((export / "checkpoint").read_bytes()).text)
    root = base64.b64encode(head.root).decode()
    for number, index in enumerate(indexes):
        entry, proof = export / f"proven/{index}.json", export / f"proven/{index}.tlog-proof"
        assert go(verifier, "proof", proof, entry, VKEY) == (0, f"ok {index} of {SIZE}")
        if number % 9 == 0:  # each run starts a Python
            lines = [base64.b64encode(item).decode() for item in parse_proof(proof.read_bytes()).hashes]
            (tmp_path / "path").write_text("\n".join(lines) + "\n")
            about = ("--size", str(SIZE), "--root", root, "--proof", tmp_path / "path")
            leaf = ("--leaf-hash", leaf_hash(entry.read_bytes()).hex())
            assert aics("verify-inclusion", *leaf, "--index", str(index), *about)["ok"]
            assert not aics("verify-inclusion", *leaf, "--index", str(index + 1), *about)["ok"]
    (export / "another").write_bytes(story().entries[0])
    assert go(verifier, "proof", export / f"proven/{indexes[0]}.tlog-proof", export / "another", VKEY)[0] == 1


@pytest.mark.req("AU-2", "AU-10")
def test_a_merged_export_is_a_complete_log_for_go(verifier: Path, tmp_path: Path, increment: Path) -> None:
    whole = write_export(tmp_path / "whole", assemble_export(story().entries[:SINCE], {}))
    merge_increment(whole, increment, allow_open=False)
    status, line = go(verifier, "export", whole, VKEY)
    assert (status, line[: len(f"ok {SIZE}")]) == (0, f"ok {SIZE}")


@pytest.mark.req("AU-2")
def test_openssl_verifies_the_checkpoint_of_an_excerpt(tmp_path: Path) -> None:
    note = parse_note(assemble_excerpt(story(), KEY)["checkpoint"])
    key, text, signature = tmp_path / "key.pem", tmp_path / "text", tmp_path / "signature"
    key.write_bytes(spki_der(Ed25519PublicKey.from_public_bytes(LOG.public.public_key)))
    signature.write_bytes(note.signatures[0].signature)
    verify: list[str | Path] = ["openssl", "pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-inkey", key]
    for content, status in [(note.text, 0), (note.text + b"x", 1)]:
        text.write_bytes(content)
        run = subprocess.run([*verify, "-rawin", "-in", text, "-sigfile", signature], capture_output=True, check=False)
        assert run.returncode == status
