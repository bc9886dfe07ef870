"""Offline proof that an entry is in the journal (c2sp.org/tlog-proof): index, audit path and signed checkpoint."""

import base64
import binascii
from collections.abc import Sequence

import msgspec

from pki.log.checkpoints import parse_decimal
from pki.log.errors import ProofInvalid
from pki.log.leaves import Leaf, parse_leaf
from pki.log.merkle import HASH_SIZE, leaf_hash, verify_inclusion
from pki.log.policy import TrustPolicy, VerifiedCheckpoint, verify_checkpoint

HEADER = b"c2sp.org/tlog-proof@v1\n"
MAX_PROOF = 512 * 1024
MAX_EXTRA = 64 * 1024


class Proof(msgspec.Struct, frozen=True):
    """The parts of a proof: audit path from the leaf up, checkpoint verbatim, and `extra`, which nothing proves."""

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes = b""


class ProvenEntry(msgspec.Struct, frozen=True):
    """An entry that a proof has shown to be in the journal, under a checkpoint that the policy accepts."""

    leaf: Leaf
    head: VerifiedCheckpoint


def encode_proof(index: int, hashes: Sequence[bytes], checkpoint: bytes, extra: bytes = b"") -> bytes:
    """The text of a `.tlog-proof` file."""
    lines = [HEADER, b"extra %s\n" % base64.b64encode(extra) if extra else b"", b"index %d\n" % index]
    lines += map(binascii.b2a_base64, hashes)
    return b"".join([*lines, b"\n", checkpoint])


def parse_proof(data: bytes) -> Proof:
    """Read a proof; its checkpoint stays as bytes. Raises ProofInvalid."""
    head, blank, checkpoint = data.partition(b"\n\n")
    if len(data) > MAX_PROOF or not data.startswith(HEADER) or not blank or not checkpoint:
        raise ProofInvalid("not a tlog-proof, or too large")
    lines = head[len(HEADER) :].split(b"\n")
    extra = b""
    if lines[0].startswith(b"extra "):
        extra = _decode(lines.pop(0).removeprefix(b"extra "), "the extra data")
        if not 0 < len(extra) <= MAX_EXTRA:
            raise ProofInvalid("the extra data is empty or too large")
    word, _, number = (lines[0] if lines else b"").partition(b" ")
    index = parse_decimal(number.decode("latin-1"))
    if word != b"index" or index is None:
        raise ProofInvalid("the proof has no index line")
    if len(lines) > 64:
        raise ProofInvalid("the audit path is longer than 63 hashes")
    hashes = tuple(_decode(line, "the audit path") for line in lines[1:])
    if any(len(item) != HASH_SIZE for item in hashes):
        raise ProofInvalid("the audit path has a hash that is not 32 bytes")
    return Proof(index, hashes, checkpoint, extra)


def verify_proof(data: bytes, entry: bytes, policy: TrustPolicy) -> ProvenEntry:
    """Check that the entry's bytes are in a journal that the policy accepts (steps of c2sp.org/tlog-proof).

    Raises ProofInvalid, LeafInvalid, InclusionInvalid, and what `verify_checkpoint` raises.
    """
    proof = parse_proof(data)
    leaf = parse_leaf(entry)
    digest = leaf_hash(entry)  # step 1
    head = verify_checkpoint(policy, proof.checkpoint)  # steps 2 and 3
    checkpoint = head.checkpoint
    verify_inclusion(digest, proof.index, checkpoint.size, checkpoint.root, proof.hashes)  # step 4
    if (leaf.seq, leaf.log) != (proof.index, checkpoint.origin):
        raise ProofInvalid(
            f"entry {proof.index} of {checkpoint.origin} says that it is entry {leaf.seq} of {leaf.log}",
            hint="the journal is corrupt: ask its operator for an export",
        )
    return ProvenEntry(leaf, head)


def _decode(text: bytes, what: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ProofInvalid(f"{what} is not base64") from error
    if base64.b64encode(data) != text:
        raise ProofInvalid(f"{what} is not canonical base64")
    return data
