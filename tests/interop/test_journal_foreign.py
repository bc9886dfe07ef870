"""An exported journal, judged by programs that are not ours: Go's golang.org/x/mod/sumdb, and openssl."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from pki.log.checkpoints import Checkpoint
from pki.log.merkle import Frontier, leaf_hash
from pki.log.notes import parse_note
from pki.log.proofs import encode_proof
from pki.log.tiles import encode_bundle, parse_bundle
from pki.log.tree import Tree
from tests.pki.log.building import LOG, ORIGIN, Files, NoteKey, assemble_export, sample_journal, sign_checkpoint

SOURCE = Path(__file__).parent / "journal_go"
SAMPLE = sample_journal().files()
SIZE = len(sample_journal().entries)
BUNDLE = "tile/entries/000"


@pytest.fixture(scope="session")
def verifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Go program, built from its source against the distribution's golang-golang-x-mod-dev."""
    binary = tmp_path_factory.mktemp("journal") / "journal-verify"
    environment = {**os.environ, "GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOFLAGS": ""}
    done = subprocess.run(
        ["go", "build", "-o", binary, "."], cwd=SOURCE, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"make tools installs Go and x/mod: {done.stderr}"
    return binary


def judge(verifier: Path, *arguments: str | Path) -> tuple[int, str]:
    done = subprocess.run([verifier, *arguments], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.returncode, done.stdout.strip()


def write_export(folder: Path, files: Files) -> Path:
    for path, data in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return folder


@pytest.mark.req("AU-2")
@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, SIZE])
def test_go_accepts_our_export(verifier: Path, tmp_path: Path, size: int) -> None:
    entries = sample_journal().entries[:size]
    export = write_export(tmp_path, assemble_export(entries, {}))
    root = Frontier().extend([leaf_hash(entry) for entry in entries]).root.hex()
    assert judge(verifier, "export", export, LOG.public.encode()) == (0, f"ok {size} {root}")


def edit_bundle(edit: Callable[[list[bytes]], object]) -> Files:
    entries = list(parse_bundle(SAMPLE[BUNDLE], 256))
    edit(entries)
    return {BUNDLE: encode_bundle(entries)}


def swap(entries: list[bytes]) -> None:
    entries[17], entries[18] = entries[18], entries[17]


def forge(root: bytes, key: NoteKey) -> Files:
    return {"checkpoint": sign_checkpoint(Checkpoint(ORIGIN, SIZE, root), key)}


@pytest.mark.req("AU-2", "T26")
@pytest.mark.parametrize(
    ("change", "what"),
    [
        (edit_bundle(lambda entries: entries.__setitem__(17, b"{}")), "entry 17: leaf hash differs from tile/0/000"),
        (edit_bundle(lambda entries: entries.pop(17)), "entry 17: leaf hash differs from tile/0/000"),
        (edit_bundle(swap), "entry 17: leaf hash differs from tile/0/000"),
        ({"tile/0/000": bytes(32) + SAMPLE["tile/0/000"][32:]}, "entry 0: leaf hash differs from tile/0/000"),
        ({"tile/1/000.p/1": bytes(32)}, "tile/1/000.p/1: not the hashes of the entries"),
        ({"tile/0/002": bytes(32)}, "tile/0/002: surplus file"),
        (forge(bytes(32), LOG), "checkpoint: the root is not that of the entries"),
        (forge(bytes(32), NoteKey(9)), "checkpoint: note has no verifiable signatures"),
        ({"checkpoint": SAMPLE["checkpoint"].replace(b"\n436\n", b"\n435\n")}, "checkpoint: invalid signature for key"),
    ],
)
def test_go_names_what_was_changed(verifier: Path, tmp_path: Path, change: Files, what: str) -> None:
    status, line = judge(verifier, "export", write_export(tmp_path, SAMPLE | change), LOG.public.encode())
    assert (status, line[: len(what)]) == (1, what)


@pytest.mark.req("AU-2", "T26")
def test_go_names_a_missing_file(verifier: Path, tmp_path: Path) -> None:
    export = write_export(tmp_path, {path: data for path, data in SAMPLE.items() if path != BUNDLE})
    assert judge(verifier, "export", export, LOG.public.encode()) == (1, f"{BUNDLE}: the file is missing")


def no_node(level: int, index: int) -> bytes:
    raise AssertionError(f"node {level}/{index} is in memory")


@pytest.mark.req("AU-2", "EV-3")
@pytest.mark.parametrize("index", [0, 1, 255, 256, 400, SIZE - 1])
def test_go_accepts_our_proof_of_its_entry_only(verifier: Path, tmp_path: Path, index: int) -> None:
    entries = sample_journal().entries
    tree = Tree(no_node)
    tree.accept(tree.stage([leaf_hash(entry) for entry in entries]))
    proof, entry = tmp_path / "entry.tlog-proof", tmp_path / "entry"
    proof.write_bytes(encode_proof(index, tree.inclusion_proof(index, SIZE), SAMPLE["checkpoint"], b"extra"))
    entry.write_bytes(entries[index])
    assert judge(verifier, "proof", proof, entry, LOG.public.encode()) == (0, f"ok {index} of {SIZE}")
    entry.write_bytes(entries[index - 1])
    assert judge(verifier, "proof", proof, entry, LOG.public.encode())[0] == 1


NEW = NoteKey(77)
TEXT = parse_note(SAMPLE["checkpoint"]).text
OVERLAP = SAMPLE["checkpoint"] + parse_note(NEW.sign(TEXT)).signatures[0].encode()


@pytest.mark.req("AU-2", "T26")
def test_go_follows_a_journal_whose_key_is_changed(verifier: Path, tmp_path: Path) -> None:
    """A checkpoint of the overlap has two signatures: either key suffices, and a false one under a known key fails."""
    both = write_export(tmp_path / "both", SAMPLE | {"checkpoint": OVERLAP})
    for key in (LOG, NEW):
        assert judge(verifier, "export", both, key.public.encode())[0] == 0
    assert judge(verifier, "export", both, NoteKey(9).public.encode()) == (
        1,
        "checkpoint: note has no verifiable signatures",
    )
    false = OVERLAP.replace(parse_note(OVERLAP).signatures[-1].encode(), NoteKey(77).sign(b"x\n").split(b"\n\n")[1])
    write_export(both, {"checkpoint": false})
    assert judge(verifier, "export", both, LOG.public.encode())[0] == 0
    assert judge(verifier, "export", both, NEW.public.encode())[1].startswith("checkpoint: invalid signature for key")


@pytest.mark.req("AU-2")
@pytest.mark.parametrize(("line", "signer"), [(0, LOG), (-1, NEW)])
def test_openssl_verifies_the_checkpoint(tmp_path: Path, line: int, signer: NoteKey) -> None:
    note = parse_note(OVERLAP)
    key, text, signature = tmp_path / "key.pem", tmp_path / "text", tmp_path / "signature"
    public = Ed25519PublicKey.from_public_bytes(signer.public.public_key)
    key.write_bytes(public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
    signature.write_bytes(note.signatures[line].signature)
    verify: list[str | Path] = [
        "openssl",
        "pkeyutl",
        "-verify",
        "-pubin",
        "-inkey",
        key,
        "-rawin",
        "-in",
        text,
        "-sigfile",
        signature,
    ]
    for content, status in [(note.text, 0), (note.text + b"x", 1)]:
        text.write_bytes(content)
        assert subprocess.run(verify, capture_output=True, check=False).returncode == status
