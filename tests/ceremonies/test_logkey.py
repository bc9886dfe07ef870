"""Checkpoints by the journal's key."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from ceremonies.logkey import CheckpointRejected, LogKey, Signer, Unproven, read_checkpoint, verifier_key
from ceremonies.orders import Sealed
from pki.log.checkpoints import parse_checkpoint
from pki.log.errors import LogError
from pki.log.merkle import leaf_hash
from pki.log.proofs import parse_proof

ORIGIN = "kedge.example/journal"


def make_log_key(signed: list[bytes]) -> LogKey:
    """A soft journal key that remembers what it signed."""
    private = ed25519.Ed25519PrivateKey.generate()
    spki = private.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )

    def sign(text: bytes) -> bytes:
        signed.append(text)
        return private.sign(text)

    return LogKey([Signer(verifier_key(ORIGIN, spki), sign)])


def test_a_head_is_signed_once() -> None:
    signed: list[bytes] = []
    key = make_log_key(signed)
    note = key.sign_head(5, bytes(32))
    assert key.sign_head(5, bytes(32)) == note
    assert len(signed) == 1
    checkpoint = parse_checkpoint(read_checkpoint(note, [key.vkey]))
    assert (checkpoint.origin, checkpoint.size, checkpoint.root) == (ORIGIN, 5, bytes(32))
    assert key.sign_head(6, bytes(32)) != note


def test_an_older_head_is_signed_and_does_not_displace_the_newest() -> None:
    signed: list[bytes] = []
    key = make_log_key(signed)
    newest, older = key.sign_head(6, bytes(32)), key.sign_head(5, bytes(32))
    assert parse_checkpoint(read_checkpoint(older, [key.vkey])).size == 5
    assert key.sign_head(6, bytes(32)) == newest
    assert len(signed) == 2


def test_a_head_that_many_threads_ask_for_is_signed_once() -> None:
    signed: list[bytes] = []
    key = make_log_key(signed)
    with ThreadPoolExecutor(8) as pool:
        notes = set(pool.map(lambda _: key.sign_head(5, bytes(32)), range(64)))
    assert (len(notes), len(signed)) == (1, 1)


def test_a_document_is_finished_with_the_proof_of_its_entry_under_its_own_head() -> None:
    key = make_log_key([])
    key.sign_head(9, bytes(32))
    finished = Unproven(Sealed(b"document", "", 0, b"", b""), (), key, (1, leaf_hash(b""))).finish()
    proof = parse_proof(finished.proof)
    head = parse_checkpoint(read_checkpoint(proof.checkpoint, [key.vkey]))
    assert (finished.document, proof.index, proof.hashes) == (b"document", 0, ())
    assert (head.size, head.root) == (1, leaf_hash(b""))


@pytest.mark.req("AU-2")
def test_a_checkpoint_of_another_key_or_with_another_byte_is_rejected() -> None:
    key, other = make_log_key([]), make_log_key([])
    note = key.sign_head(5, bytes(32))
    for bad in (other.sign_head(5, bytes(32)), note.replace(b"\n5\n", b"\n6\n")):
        with pytest.raises((CheckpointRejected, LogError)):
            read_checkpoint(bad, [key.vkey])
